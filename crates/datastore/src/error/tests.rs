use super::*;

#[test]
fn what_passes_by_itself_is_told_apart_from_what_was_asked_wrongly() {
    let postgres = |code: &str| of_postgres(code, code.to_owned());
    for away in ["08006", "08P01", "25006", "28P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030"] {
        assert!(matches!(postgres(away), Error::Unavailable(_)), "{away}");
    }
    assert!(matches!(postgres("40P01"), Error::Conflict(_)));
    assert!(matches!(postgres("23505"), Error::Constraint(_)));
    for wrong in ["42P01", "42501", "22001", "23502"] {
        assert!(matches!(postgres(wrong), Error::Sql(_)), "{wrong}");
    }

    let mysql = |number, state| of_mysql(number, state, format!("{number}"));
    for (away, state) in [
        (1021, "HY000"),
        (1040, "08004"),
        (1045, "28000"),
        (1047, "08S01"),
        (1053, "08S01"),
        (1114, "HY000"),
        (1159, "08S01"),
        (1290, "HY000"),
        (1317, "70100"),
        (1836, "HY000"),
        (1927, "70100"),
    ] {
        assert!(matches!(mysql(away, state), Error::Unavailable(_)), "{away}");
    }
    assert!(matches!(mysql(1213, "40001"), Error::Conflict(_)));
    assert!(matches!(mysql(1062, "23000"), Error::Constraint(_)));
    for (wrong, state) in [(1064, "42000"), (1142, "42000"), (1146, "42S02"), (1406, "22001")] {
        assert!(matches!(mysql(wrong, state), Error::Sql(_)), "{wrong}");
    }

    let sqlite = |code| of_sqlite(Some(code), String::new());
    // Also with what says more (disk I/O error while writing).
    for away in [8, 10, 13, 14, 10 | (3 << 8)] {
        assert!(matches!(sqlite(away), Error::Unavailable(_)), "{away}");
    }
    assert!(matches!(sqlite(5), Error::Busy(_)) && matches!(sqlite(11), Error::Corrupt(_)));
    assert!(matches!(sqlite(1), Error::Sql(_)));
}
