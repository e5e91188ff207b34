//! Where in a document a value stands.

use std::fmt;

/// A path that lives on the stack of the decoder, so that it costs nothing until a problem is reported.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Path<'a> {
    /// The value that was handed in.
    Root,
    /// A member of an object.
    Field(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, position) => write!(f, "{parent}[{position}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_operators_write_them() {
        let proxy = Path::Field(&Path::Root, "Proxy");
        let upstreams = Path::Field(&proxy, "Upstreams");
        let first = Path::Item(&upstreams, 0);

        assert_eq!(Path::Field(&first, "LocalBindPort").to_string(), "Proxy.Upstreams[0].LocalBindPort");
        assert_eq!(Path::Item(&Path::Root, 1).to_string(), "[1]");
    }
}
