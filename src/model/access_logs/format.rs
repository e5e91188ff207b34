//! Whether Envoy understands a format: texts with operators between percent signs.

use super::operators::{Parameters, operators};

/// What is wrong with a format; `None` if Envoy understands it.
pub(super) fn problem(format: &str) -> Option<String> {
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        let text = &rest[start..];
        if let Some(behind) = text.strip_prefix("%%") {
            rest = behind;
            continue;
        }
        let Some(operator) = Operator::read(text) else {
            let shown = text.split_whitespace().next().unwrap_or(text);
            let place = if text == "%" { "the % at the end".to_owned() } else { format!("the % of {shown:?}") };
            return Some(format!("{place} begins no operator; a % of its own is written %%"));
        };
        if let Some(problem) = operator.problem() {
            return Some(problem);
        }
        rest = operator.behind;
    }
    None
}

/// `%NAME%`, `%NAME(parameters)%`, either with `:length` before the last sign.
struct Operator<'t> {
    name: &'t str,
    parameters: Option<&'t str>,
    behind: &'t str,
}

impl<'t> Operator<'t> {
    /// The operator that a text begins with.
    fn read(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix('%')?;
        let is_letter = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let end = text.find(|c| !is_letter(c)).filter(|end| *end > 0)?;
        let (name, tail) = text.split_at(end);
        let Some(tail) = tail.strip_prefix('(') else {
            return Some(Self { name, parameters: None, behind: closed(tail)? });
        };
        // A parenthesis may be part of the parameters: the first one counts behind which the operator ends.
        tail.match_indices(')')
            .find_map(|(end, _)| Some(Self { name, parameters: Some(&tail[..end]), behind: closed(&tail[end + 1..])? }))
    }

    fn problem(&self) -> Option<String> {
        let name = self.name;
        let Some((_, parameters)) = operators().find(|(known, _)| *known == name) else {
            let closest =
                operators().map(|(known, _)| known).min_by_key(|known| strsim::damerau_levenshtein(name, known));
            let hint = closest.filter(|known| strsim::damerau_levenshtein(name, known) <= 2);
            let hint = hint.map(|known| format!(", did you mean %{known}%?")).unwrap_or_default();
            return Some(format!("Envoy knows no operator %{name}%{hint}"));
        };
        match (parameters, self.parameters) {
            (Parameters::Required(example), None | Some("")) => {
                Some(format!("%{name}% needs parameters, such as %{name}({example})%"))
            }
            (Parameters::No, Some(given)) if !given.is_empty() => Some(format!("%{name}% takes no parameters")),
            (Parameters::Required(_) | Parameters::Optional | Parameters::No, _) => None,
        }
    }
}

/// What is behind `%` or `:<digits>%`.
fn closed(text: &str) -> Option<&str> {
    let text = match text.strip_prefix(':') {
        Some(length) => {
            let digits = length.bytes().take_while(u8::is_ascii_digit).count();
            length.get(digits..).filter(|_| digits > 0)?
        }
        None => text,
    };
    text.strip_prefix('%')
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn what_envoy_takes() {
        for format in [
            "",
            "plain",
            "%%",
            "100%%",
            "%START_TIME%",
            "a%START_TIME%b%%c",
            "%START_TIME(%Y/%m)%x",
            "%START_TIME(a)b)%",
            "%START_TIME()%",
            "%REQ(X?Y):10%",
            "%REQ(%)%",
            "%REQ(a)%%%",
            "%RESPONSE_CODE_DETAILS%",
        ] {
            assert_eq!(problem(format), None, "{format}");
        }
    }

    #[test]
    fn what_envoy_refuses() {
        for (format, expected) in [
            ("%", "the % at the end begins no operator; a % of its own is written %%"),
            ("a % b", "the % of \"%\" begins no operator; a % of its own is written %%"),
            ("%start_time%", "the % of \"%start_time%\" begins no operator; a % of its own is written %%"),
            ("%DURATION%%", "the % at the end begins no operator; a % of its own is written %%"),
            ("%REQ(X):% b", "the % of \"%REQ(X):%\" begins no operator; a % of its own is written %%"),
            ("%REQ(X)", "the % of \"%REQ(X)\" begins no operator; a % of its own is written %%"),
            ("%REQ%", "%REQ% needs parameters, such as %REQ(USER-AGENT)%"),
            ("%PROTOCOL(x)%", "%PROTOCOL% takes no parameters"),
            ("%DURATOIN%", "Envoy knows no operator %DURATOIN%, did you mean %DURATION%?"),
            ("%START_TIME% %NO_SUCH_THING%", "Envoy knows no operator %NO_SUCH_THING%"),
        ] {
            assert_eq!(problem(format).as_deref(), Some(expected), "{format}");
        }
    }
}
