//! What a value lacks because it was refused.

use crate::model::Problem;

/// The places of the values that were left out, as paths from the top of what was decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct LeftOut(Vec<String>);

impl LeftOut {
    /// The places that these problems are about.
    pub(super) fn of(refused: impl IntoIterator<Item = Problem>) -> Self {
        Self(refused.into_iter().map(|problem| problem.path).collect())
    }

    /// The place in the text of what the decoded value has at `path`; nothing where that cannot be judged, because it
    /// was left out itself or lost a part.
    pub(in super::super) fn place_of(&self, path: &str) -> Option<String> {
        let place = self.with_positions_of_the_text(path);
        let is_judged = |left_out: &String| !is_at_or_below(&place, left_out) && !loses_a_part(&place, left_out);
        self.0.iter().all(is_judged).then_some(place)
    }

    /// Items behind one that was left out have moved up.
    fn with_positions_of_the_text(&self, path: &str) -> String {
        let mut place = String::with_capacity(path.len());
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('[') {
            place.push_str(before);
            let item = after.split_once(']').and_then(|(digits, tail)| Some((digits.parse().ok()?, tail)));
            let Some((position, tail)) = item else {
                place.push('[');
                rest = after;
                continue;
            };
            let position = self.position_in_the_text(&place, position);
            place.push_str(&format!("[{position}]"));
            rest = tail;
        }
        place.push_str(rest);
        place
    }

    fn position_in_the_text(&self, list: &str, decoded: usize) -> usize {
        let item = |place: &String| place.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        let mut missing: Vec<usize> = self.0.iter().filter_map(item).collect();
        missing.sort_unstable();
        missing.into_iter().fold(decoded, |position, missing| position + usize::from(missing <= position))
    }
}

fn is_at_or_below(place: &str, other: &str) -> bool {
    place.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// True for what holds `left_out` directly, and for the owner of a list that holds it: to its rules, a list that became
/// empty is one that was never there.
fn loses_a_part(place: &str, left_out: &str) -> bool {
    let holder = parent(left_out);
    place == holder || (left_out.ends_with(']') && place == parent(holder))
}

fn parent(place: &str) -> &str {
    place.rfind(['.', '[']).map_or("", |end| &place[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(places: &[&str]) -> LeftOut {
        LeftOut(places.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_was_left_out_or_lost_a_part_is_not_judged() {
        let left_out = left_out(&["Check.TTL", "Failover.a.Targets[1]", "Port"]);

        for path in ["Check.TTL", "Check", "Port", "", "Failover.a.Targets", "Failover.a", "Port.Of[0].Call"] {
            assert_eq!(left_out.place_of(path), None, "{path}");
        }
        for path in ["Check.Interval", "Checks[0].TTL", "Portal", "Failover", "Failover.a.Policy", "Name"] {
            assert_eq!(left_out.place_of(path).as_deref(), Some(path));
        }
    }

    #[test]
    fn items_have_the_positions_of_the_text() {
        let left_out = left_out(&["Lists[2]", "Lists[0]", "Lists[3].Items[0]"]);

        for (path, expected) in [
            ("Lists[0].Name", "Lists[1].Name"),
            ("Lists[1].Name", "Lists[3].Name"),
            ("Lists[1].Items[1].Name", "Lists[3].Items[2].Name"),
            ("Lists[2].Items[0].Name", "Lists[4].Items[0].Name"),
            ("Others[0]", "Others[0]"),
            ("Meta.a[b].c[", "Meta.a[b].c["),
        ] {
            assert_eq!(left_out.place_of(path).as_deref(), Some(expected), "{path}");
        }
    }
}
