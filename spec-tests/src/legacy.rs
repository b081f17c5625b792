//! The folded form of legacy `try` (its proposal's text format), unfolded.
//!
//! The parser of scripts reads `try ... catch ... end`, but no longer `(try (do ...) (catch ...))`, in which the
//! official scripts below `legacy/` are written. Lines stay what they are.

use std::borrow::Cow;

/// What a parenthesis opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// A folded `try`; whether its `delegate` was met, which ends it in the flat form.
    Try {
        delegated: bool,
    },
    /// `do`, `catch`, `catch_all` or `delegate` of a folded `try`.
    Clause,
    Other,
}

/// The script with each folded `try` in its flat form; a script without one as it is.
#[must_use]
pub fn unfold(text: &str) -> Cow<'_, str> {
    if text.contains("(try") && text.contains("(do") { Cow::Owned(rewrite(text)) } else { Cow::Borrowed(text) }
}

fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            _ if rest.starts_with(";;") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("(;") => comment_length(rest),
            '"' => string_length(rest),
            '(' => {
                rest = &rest[1..];
                rest = &rest[opened(rest, &mut open, &mut out)..];
                continue;
            }
            ')' => {
                out.push_str(match open.pop() {
                    Some(Open::Try { delegated: false }) => " end ",
                    Some(Open::Try { .. } | Open::Clause) => " ",
                    Some(Open::Other) | None => ")",
                });
                rest = &rest[1..];
                continue;
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Writes what stands for an opening parenthesis; how many bytes of its first word that took.
fn opened(rest: &str, open: &mut Vec<Open>, out: &mut String) -> usize {
    let word = rest.split(|c: char| c.is_whitespace() || "()\";".contains(c)).next().unwrap_or_default();
    let within = open.last_mut();
    let (kind, shown, taken) = match (word, within) {
        ("try", _) => (Open::Try { delegated: false }, " ", 0),
        ("do", Some(Open::Try { .. })) => (Open::Clause, " ", word.len()),
        ("catch" | "catch_all", Some(Open::Try { .. })) => (Open::Clause, " ", 0),
        ("delegate", Some(Open::Try { delegated })) => {
            *delegated = true;
            (Open::Clause, " ", 0)
        }
        _ => (Open::Other, "(", 0),
    };
    open.push(kind);
    out.push_str(shown);
    taken
}

/// The length of a string, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// The length of a block comment, those within it included.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"(;") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b";)") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn folded_tries_become_flat_ones() {
        for (folded, flat) in [
            ("(try (do (nop)) (catch $e (drop)))", "try (nop) catch $e (drop) end"),
            (
                "(try $l (result i32) (do (i32.const 1)) (catch_all (i32.const 2)))",
                "try $l (result i32) (i32.const 1) catch_all (i32.const 2) end",
            ),
            ("(try (do (try (do) (delegate 0))) (catch_all))", "try try delegate 0 catch_all end"),
            ("(block (do)) (try (do \"(try (do))\" (; (do ;) ) )", "(block (do)) try \"(try (do))\" (; (do ;) end"),
        ] {
            assert_eq!(words(&unfold(folded)), flat);
        }
        assert!(matches!(unfold("(try_table (catch $e 0))"), Cow::Borrowed(_)));
        let lines = "(try\n (do\n ;; (do\n  nop)\n (catch 0))\n";
        assert_eq!(unfold(lines).lines().count(), lines.lines().count());
    }
}
