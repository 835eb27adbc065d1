//! The cases that every kind of database has to pass.

/// Makes one test of each case for one kind of database, which a function of `opened` opens. A case that is not listed is
/// dead code, which the compiler reports.
macro_rules! suite {
    ($opened:ident) => {
        suite! { $opened on $opened:
                entries {
                    reads_back_what_it_created
                    answers_sorted_and_lists_in_the_order_of_the_request
                    returns_a_similar_entry_instead_of_creating_one
                    finds_more_similar_entries_than_a_statement_has_variables
                    keeps_the_errors_of_a_batch_apart
                    creates_the_twin_of_a_refused_entry
                    refuses_what_the_reference_refuses
                    updates_only_what_the_mask_names
                    raises_the_revision_even_if_nothing_is_named
                    refuses_updates_the_reference_refuses_and_changes_nothing_then
                    updates_a_batch_and_keeps_its_errors_apart
                    deletes_an_entry_with_its_lists
                    prunes_entries_that_have_expired
                    writes_one_event_for_each_change
                    creates_ten_thousand_entries_in_batches
                }
                lists {
                    matches_sets_of_selectors
                    matches_sets_of_trust_domains
                    combines_filters
                    pages_in_order_of_creation
                    finds_entries_behind_a_page_of_others
                    filters_nodes
                    refuses_an_empty_set_of_selectors
                }
                nodes {
                    attests_a_new_node_and_a_known_one
                    refuses_to_attest_a_banned_node
                    updates_only_the_columns_given
                    activates_the_next_serial_only_if_it_is_still_the_next
                    a_renewal_that_is_written_late_does_not_take_the_place_of_a_later_one
                    deleting_a_join_token_node_takes_its_alias_entries
                    prunes_expired_nodes_but_never_banned_ones
                    keeps_a_missing_serial_apart_from_an_empty_one
                    puts_back_what_was_lost_of_nodes_and_nothing_that_was_decided_since
                }
                tokens {
                    a_token_is_consumed_once
                    the_key_that_used_a_token_is_answered_until_its_agent_is_seen
                    an_answer_that_was_only_late_ends_the_others
                    an_agent_that_was_banned_or_deleted_is_not_answered_again
                    an_agent_that_was_renewed_is_not_answered_again
                    of_two_answers_to_one_key_at_once_one_is_given
                    a_token_made_again_is_another_one
                    a_used_token_is_forgotten_when_it_has_expired
                    refuses_a_token_twice
                    a_token_and_its_entry_are_stored_together_or_not_at_all
                    prunes_tokens_that_have_expired
                }
                bundles {
                    appends_only_what_is_new
                    sets_creates_and_updates
                    refuses_to_delete_a_bundle_in_use
                    dissociates_entries_and_tells_of_them
                    deletes_entries_with_their_lists
                    taints_and_revokes_x509_authorities
                    taints_and_revokes_jwt_authorities
                    prunes_what_has_expired_but_never_all
                }
                fixtures {
                    entries_and_agents_are_those_the_reference_listed
                    bundles_relationships_tokens_and_the_journal_are_those_the_reference_had
                    the_same_operations_leave_the_same_events
                    what_we_write_reads_like_what_the_reference_wrote
                }
                formats {
                    a_day_of_writes_leaves_rows_of_the_references_form
                }
                housekeeping {
                    the_newest_event_outlives_all_pruning
                    events_are_pruned_a_part_at_a_time_the_oldest_first
                    entries_are_pruned_a_part_at_a_time
                    rows_that_belong_to_nothing_are_passed_over
                }
                inventory {
                    records_of_each_chain_are_in_their_order_and_whole_batches
                    records_of_days_that_are_over_are_deleted
                }
                schema {
                    a_new_database_has_the_references_schema
                    opening_changes_nothing_in_a_current_database
                    migrates_versions_23_and_24
                    keeps_to_the_rules_about_versions
                    the_log_tells_what_an_old_schema_needs_and_of_a_newer_one
                    ten_servers_that_open_at_once_make_or_migrate_one_schema
                }
                journals {
                    a_server_finds_its_journal_by_its_active_authority
                    prunes_journals_whose_authorities_have_all_expired
                }
                federation {
                    keeps_relationships_with_their_bundles
                    updates_a_relationship_by_mask
                }
                trips {
                    writes_and_the_looks_that_find_them_ask_in_few_statements
                }
                writes {
                    of_similar_entries_created_at_once_there_is_one
                    a_bundle_that_servers_append_to_at_once_has_all_of_it
                    writes_that_fail_do_not_touch_others_of_their_commit
                    a_caller_that_goes_away_does_not_stop_its_write
                    a_closed_store_refuses_everything
                }
                feed {
                    begins_with_everything
                    brings_what_was_written_and_what_went
                    brings_a_row_that_changed_often_once
                    brings_what_another_store_wrote
                    counts_as_others_changes_what_is_certainly_theirs
                    brings_bundles_of_another_store
                    brings_entries_that_lost_a_bundle_without_an_event
                    brings_entries_that_lost_a_bundle_which_had_just_come
                    loses_nothing_when_its_future_is_dropped
                    takes_more_events_than_one_look_reads
                    pruned_events_are_no_step_back
                    what_the_reference_prunes_is_compared_and_no_step_back
                    compares_when_the_database_moved_back
                    compares_all_rows_in_slices_and_brings_changes_in_between
                    looks_again_at_rows_that_are_asked_for
                    brings_changes_while_a_comparison_fails
                    goes_on_from_its_position_after_an_error
                    rows_that_cannot_be_read_keep_nothing_back
                    compares_all_but_rows_that_cannot_be_read
                }
                ids {
                    ids_that_never_come_are_no_change
                    pruning_holds_up_nothing_but_what_waits_for_it
                    ids_that_are_used_again_are_noticed
                    ids_that_are_used_again_for_the_same_entry_are_noticed
                    ids_that_are_used_again_are_noticed_while_much_is_written
                    a_database_that_moved_back_is_noticed_within_two_looks
                }
        }
    };
    ($name:ident on $opened:ident: $($module:ident { $($case:ident)* })*) => {
        mod $name {
            $(mod $module {
                $(#[tokio::test]
                async fn $case() {
                    crate::$module::$case(crate::opened::$opened().await).await;
                })*
            })*
        }
    };
}

/// Makes the tests of archives and copies from one kind of database to another.
macro_rules! pairs {
    ($($name:ident: $from:ident to $to:ident)*) => {
        $(mod $name {
            pairs! { on $from $to:
                an_archive_brings_everything_back
                a_copy_is_the_same
                what_writes_meanwhile_is_noticed
                what_is_written_meanwhile_is_not_in_the_archive
                what_cannot_be_whole_leaves_nothing
            }
        })*
    };
    (on $from:ident $to:ident: $($case:ident)*) => {
        $(#[tokio::test]
        async fn $case() {
            crate::archive::$case(crate::opened::$from().await, crate::opened::$to().await).await;
        })*
    };
}
