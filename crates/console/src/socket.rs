//! Where a daemon that a command line talks to is.

/// How one kind of daemon is found.
#[derive(Debug)]
pub struct Socket {
    /// The default of the flag.
    pub default: &'static str,
    /// The variable that names a socket.
    pub variable: &'static str,
    /// The variable that names the sockets of several daemons, with `%i` for the one that is meant.
    pub template: &'static str,
    /// What is said of an instance without a template.
    pub no_template: &'static str,
}

impl Socket {
    /// The path that flags and environment mean. A flag that repeats the default says nothing, so that the environment wins
    /// over it; an instance wins over the variable.
    ///
    /// # Errors
    /// There is an instance, but no template to put it in.
    pub fn path(&self, flag: &str, instance: &str, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
        let Self { default, variable, template, no_template } = self;
        let mut from_env = env(variable);
        if !instance.is_empty() {
            let Some(filled) = env(template) else { anyhow::bail!("{no_template}") };
            if !filled.contains("%i") {
                anyhow::bail!("failed to find %i in {template}");
            }
            from_env = Some(filled.replace("%i", instance));
        }
        Ok(from_env.filter(|_| flag == *default).unwrap_or_else(|| flag.to_owned()))
    }
}

/// What a variable of the environment says; an empty one says nothing.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: Socket =
        Socket { default: "default.sock", variable: "SOCKET", template: "TEMPLATE", no_template: "no TEMPLATE" };

    fn path(flag: &str, instance: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        SOCKET.path(flag, instance, lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_wins_over_an_instance_over_the_environment_over_the_default() {
        let env = [("SOCKET", "env.sock"), ("TEMPLATE", "x-%i-%i.sock")];
        assert_eq!(path("flag.sock", "a", &env).unwrap(), "flag.sock");
        assert_eq!(path("default.sock", "a", &env).unwrap(), "x-a-a.sock");
        assert_eq!(path("default.sock", "", &env).unwrap(), "env.sock");
        assert_eq!(path("default.sock", "", &[]).unwrap(), "default.sock");
    }

    #[test]
    fn an_instance_without_a_template_is_refused_even_beside_a_path() {
        assert_eq!(path("flag.sock", "a", &[]).unwrap_err(), "no TEMPLATE");
        assert_eq!(path("flag.sock", "a", &[("TEMPLATE", "x.sock")]).unwrap_err(), "failed to find %i in TEMPLATE");
    }
}
