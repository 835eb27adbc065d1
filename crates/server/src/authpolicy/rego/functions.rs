//! The functions that a policy calls: all must be known before it is used. The engine itself would find out when it comes to
//! the call, which may be a long time after the start.

use std::collections::HashSet;
use std::fmt;

use regorus::unstable::{
    BUILTINS, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleAssign, RuleBody, RuleHead, Span, WithModifier,
};

/// A call that cannot be made.
#[derive(Debug)]
pub struct Refused {
    /// The file and the line.
    place: String,
    /// The function.
    name: String,
    why: Why,
}

/// Why a function cannot be called.
#[derive(Debug)]
pub(super) enum Why {
    /// It does not exist.
    Undefined,
    /// Rego v1 has it no more.
    Deprecated,
    /// The reference has it, and this server does not.
    Unsupported,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, name, why } = self;
        match why {
            Why::Undefined => write!(f, "{place}: rego_type_error: undefined function {name}"),
            Why::Deprecated => {
                write!(f, "{place}: rego_type_error: deprecated built-in function calls in expression: {name}")
            }
            Why::Unsupported => write!(f, "{place}: built-in function {name} is not supported"),
        }
    }
}

impl std::error::Error for Refused {}

/// Finds a call that cannot be made.
///
/// # Errors
/// See [`Refused`].
pub(super) fn check(module: &Module) -> Result<(), Refused> {
    let own = own(module);
    calls(module).into_iter().filter(|(_, name)| !own.contains(name)).try_for_each(|(span, name)| {
        let place = || format!("{}:{}", span.source.get_path(), span.line);
        find(&name).map_err(|why| Refused { place: place(), why, name })
    })
}

/// Looks for a built-in function.
pub(super) fn find(name: &str) -> Result<(), Why> {
    match name {
        name if DEPRECATED.contains(&name) => Err(Why::Deprecated),
        name if UNSUPPORTED.contains(&name) => Err(Why::Unsupported),
        // It prints nowhere, as in the reference.
        "print" => Ok(()),
        name if BUILTINS.contains_key(name) => Ok(()),
        _ => Err(Why::Undefined),
    }
}

/// The functions that the policy defines, by all names that they have.
fn own(module: &Module) -> HashSet<String> {
    let package = path(&module.package.refr);
    let functions = module.policy.iter().filter_map(|rule| match &**rule {
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => Some(path(refr)),
        _ => None,
    });
    functions.flat_map(|name| [format!("data.{package}.{name}"), name]).collect()
}

/// All calls of a policy.
fn calls(module: &Module) -> Vec<(&Span, String)> {
    let mut walk = Walk::default();
    module.policy.iter().for_each(|rule| walk.rule(rule));
    while let Some(left) = walk.left.pop() {
        walk.expression(left);
    }
    walk.calls
}

/// A walk over all expressions. It keeps a list of what is left, so that deep policies need no deep stack.
#[derive(Default)]
struct Walk<'a> {
    left: Vec<&'a Expr>,
    calls: Vec<(&'a Span, String)>,
}

impl<'a> Walk<'a> {
    fn rule(&mut self, rule: &'a Rule) {
        match rule {
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.left.push(refr);
                        self.assignment(assign.as_ref());
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.left.push(refr);
                        self.left.extend(key.as_deref());
                    }
                    RuleHead::Func { args, assign, .. } => {
                        self.left.extend(args.iter().map(|it| &**it));
                        self.assignment(assign.as_ref());
                    }
                }
                for RuleBody { assign, query, .. } in bodies {
                    self.assignment(assign.as_ref());
                    self.query(query);
                }
            }
            Rule::Default { args, value, .. } => {
                self.left.extend(args.iter().map(|it| &**it));
                self.left.push(value);
            }
        }
    }

    fn assignment(&mut self, assign: Option<&'a RuleAssign>) {
        self.left.extend(assign.map(|assign| &*assign.value));
    }

    fn query(&mut self, query: &'a Query) {
        for LiteralStmt { literal, with_mods, .. } in &query.stmts {
            match literal {
                Literal::SomeVars { .. } => {}
                Literal::SomeIn { key, value, collection, .. } => {
                    self.left.extend(key.as_deref());
                    self.left.extend([&**value, &**collection]);
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.left.push(expr),
                Literal::Every { domain, query, .. } => {
                    self.left.push(domain);
                    self.query(query);
                }
            }
            self.left.extend(with_mods.iter().map(|WithModifier { r#as, .. }| &**r#as));
        }
    }

    fn expression(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Call { span, fcn, params, .. } => {
                self.calls.push((span, path(fcn)));
                self.left.extend(params.iter().map(|it| &**it));
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.left.extend(items.iter().map(|it| &**it)),
            Expr::Object { fields, .. } => {
                self.left.extend(fields.iter().flat_map(|(_, key, value)| [&**key, &**value]));
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.left.push(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.left.extend([&**key, &**value]);
                self.query(query);
            }
            Expr::UnaryExpr { expr, .. } => self.left.push(expr),
            Expr::RefDot { refr, .. } => self.left.push(refr),
            Expr::RefBrack { refr, index, .. } => self.left.extend([&**refr, &**index]),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => self.left.extend([&**lhs, &**rhs]),
            Expr::Membership { key, value, collection, .. } => {
                self.left.extend(key.as_deref());
                self.left.extend([&**value, &**collection]);
            }
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
        }
    }
}

/// `a.b["c"]` is `a.b.c`.
fn path(name: &Expr) -> String {
    match name {
        Expr::RefDot { refr, field: (field, _), .. } => format!("{}.{}", path(refr), field.text()),
        Expr::RefBrack { refr, index, .. } => format!("{}.{}", path(refr), index.span().text()),
        name => name.span().text().to_owned(),
    }
}

/// Built-in functions of the reference that the engine does not have, or has with another meaning.
const UNSUPPORTED: &[&str] = &[
    "array.flatten",
    "crypto.hmac.equal",
    "crypto.hmac.md5",
    "crypto.hmac.sha1",
    "crypto.hmac.sha256",
    "crypto.hmac.sha512",
    "crypto.md5",
    "crypto.parse_private_keys",
    "crypto.sha1",
    "crypto.sha256",
    "crypto.x509.parse_and_verify_certificates",
    "crypto.x509.parse_and_verify_certificates_with_options",
    "crypto.x509.parse_certificate_request",
    "crypto.x509.parse_certificates",
    "crypto.x509.parse_keypair",
    "crypto.x509.parse_rsa_private_key",
    "graphql.is_valid",
    "graphql.parse",
    "graphql.parse_and_verify",
    "graphql.parse_query",
    "graphql.parse_schema",
    "graphql.schema_is_valid",
    "http.send",
    "io.jwt.decode",
    "io.jwt.decode_verify",
    "io.jwt.encode_sign",
    "io.jwt.encode_sign_raw",
    "io.jwt.verify_eddsa",
    "io.jwt.verify_es256",
    "io.jwt.verify_es384",
    "io.jwt.verify_es512",
    "io.jwt.verify_hs256",
    "io.jwt.verify_hs384",
    "io.jwt.verify_hs512",
    "io.jwt.verify_ps256",
    "io.jwt.verify_ps384",
    "io.jwt.verify_ps512",
    "io.jwt.verify_rs256",
    "io.jwt.verify_rs384",
    "io.jwt.verify_rs512",
    "json.match_schema",
    "json.patch",
    "json.verify_schema",
    "net.cidr_contains_matches",
    "net.cidr_intersects",
    "net.cidr_merge",
    "net.lookup_ip_addr",
    "opa.runtime",
    "providers.aws.sign_req",
    "regex.globs_match",
    "rego.metadata.chain",
    "rego.metadata.rule",
    "rego.parse_module",
    "strings.render_template",
    "strings.replace_n",
    "strings.split_n",
    "uri.is_valid",
    "uri.parse",
    "yaml.is_valid",
    "yaml.marshal",
    "yaml.unmarshal",
];

/// Built-in functions of Rego v0.
const DEPRECATED: &[&str] = &[
    "all",
    "any",
    "cast_array",
    "cast_boolean",
    "cast_null",
    "cast_object",
    "cast_set",
    "cast_string",
    "net.cidr_overlap",
    "re_match",
    "set_diff",
];
