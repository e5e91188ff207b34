use serde_json::{Value, json};

use super::*;

fn value(text: &str) -> Value {
    serde_json::to_value(read(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))).expect("is JSON")
}

fn error(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn blocks_and_assignments_are_the_same() {
    let expected = json!({"a": {"b": {"c": 1}, "d": "x"}});

    assert_eq!(value("a { b { c = 1 } d = \"x\" }"), expected);
    assert_eq!(value("a = {\n  b = { c = 1 },\n  \"d\" = \"x\",\n}"), expected);
    assert_eq!(value("a \"b\" { c = 1 }"), json!({"a": {"b": {"c": 1}}}));
    assert_eq!(value("connect { sidecar_service {} }"), json!({"connect": {"sidecar_service": {}}}));
}

#[test]
fn a_block_may_stand_inside_a_list_element() {
    assert_eq!(
        value("upstreams = [{ name = \"a\" config { x = 1 } mesh_gateway { mode = \"local\" } }, { name = \"b\" },]"),
        json!({"upstreams": [{"name": "a", "config": {"x": 1}, "mesh_gateway": {"mode": "local"}}, {"name": "b"}]})
    );
}

#[test]
fn repeated_blocks_and_lists_add_up() {
    assert_eq!(value("s { a = 1 }\ns { a = 2 }\ns { a = 3 }"), json!({"s": [{"a": 1}, {"a": 2}, {"a": 3}]}));
    assert_eq!(value("s = [{ a = 1 }]\ns { a = 2 }"), json!({"s": [{"a": 1}, {"a": 2}]}));
    assert_eq!(value("s = [1]\ns = [2]"), json!({"s": [1, 2]}));
    assert_eq!(value("s \"a\" { x = 1 } s \"b\" {}"), json!({"s": [{"a": {"x": 1}}, {"b": {}}]}));
}

#[test]
fn a_scalar_is_given_once() {
    assert_eq!(error("a = 1\nb = 2\na = 3"), "line 3: invalid HCL: the key \"a\" is given twice, first on line 1");
}

#[test]
fn comments_are_skipped() {
    assert_eq!(value("# a\na = 1 // b\n/* c\n = */ b /* d */ = /* e */ [1, # f\n 2]"), json!({"a": 1, "b": [1, 2]}));
}

#[test]
fn scalars_are_read_as_version_1_does() {
    for (text, expected) in [
        ("0644", json!(420)),
        ("0x1F", json!(31)),
        ("-7", json!(-7)),
        ("0", json!(0)),
        ("1.5", json!(1.5)),
        ("-1e3", json!(-1000.0)),
        ("18446744073709551615", json!(u64::MAX)),
        ("true", json!(true)),
        ("null", json!(null)),
        (r#""a\n\t\"\\\u00e9\x41\102""#, json!("a\n\t\"\\éAB")),
        (r#""${f("x{}")}-y""#, json!("${f(\"x{}\")}-y")),
        (r#""$5 {}""#, json!("$5 {}")),
    ] {
        assert_eq!(value(&format!("a = {text}")), json!({ "a": expected }), "{text}");
    }
}

#[test]
fn heredocs_keep_their_lines() {
    assert_eq!(value("a = <<EOF\n{\n  \"x\": 1\n}\nEOF\nb = 1"), json!({"a": "{\n  \"x\": 1\n}\n", "b": 1}));
    assert_eq!(value("a = <<-EOF\n    x\n      y\n    EOF\n"), json!({"a": "x\n  y\n"}));
    assert_eq!(value("a = <<-EOF\n  x\n    y\n    EOF\n"), json!({"a": "  x\n    y\n"}));
    assert_eq!(value("a = <<EOF\r\nx\r\nEOF\r\nb = 1"), json!({"a": "x\n", "b": 1}));
    assert_eq!(value("a = [<<X\n1\nX\n, <<X\n2\nX\n]"), json!({"a": ["1\n", "2\n"]}));
    assert_eq!(value("a {\n  b = <<EOF\n  x\n  EOF\n}"), json!({"a": {"b": "  x\n"}}));
}

#[test]
fn lines_are_those_of_the_values() {
    let tree = read("a = 1\n\nb {\n  c = <<X\n1\nX\n  d = [\n    2\n  ]\n}\n").expect("valid");

    let b = tree.get("b").expect("is there");
    let line = |key| b.get(key).expect("is there").line;
    assert_eq!((tree.get("a").expect("is there").line, b.line, line("c"), line("d")), (1, 3, 4, 7));
}

#[test]
fn a_text_that_starts_with_a_brace_is_json() {
    assert_eq!(value("  {\"a\": [null]}"), json!({"a": [null]}));
    assert_eq!(value("\u{feff}a = 1"), json!({"a": 1}));
    assert_eq!(value(" # nothing\n"), json!({}));
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    for (text, expected) in [
        ("a = 1\nb", "line 2: invalid HCL: expected = or { behind the key \"b\", found the end of the text"),
        (
            "a {\n b = 1\n",
            "line 3: invalid HCL: expected a key or } to close the block that starts on line 1, found the end of the text",
        ),
        ("a = [1 2]", "line 1: invalid HCL: expected a comma, or ] to close the list that starts on line 1, found '2'"),
        ("a = 10s", "line 1: invalid HCL: \"10s\" is not a number; a text, such as a duration, needs quotes"),
        ("a = 089", "line 1: invalid HCL: \"089\" is not a number; a text, such as a duration, needs quotes"),
        ("a = local", "line 1: invalid HCL: the text local needs quotes"),
        ("a = \"x\nb = 1", "line 1: invalid HCL: a string is not closed on its line"),
        ("a = \"\\q\"", "line 1: invalid HCL: unknown escape \\q"),
        ("a = \"\\ud800\"", "line 1: invalid HCL: an escape does not name a character"),
        ("a = <<EOF\nx", "line 1: invalid HCL: no line with only EOF closes the text that starts here"),
        ("a = 1\n/* x", "line 2: invalid HCL: a comment that starts here is never closed"),
        ("}", "line 1: invalid HCL: expected a key, found '}'"),
        ("a = ", "line 1: invalid HCL: expected a value, found the end of the text"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let labelled = "a b c d e {".repeat(21) + &"}".repeat(21);
    for text in ["a = ".to_owned() + &"[".repeat(100_000), "a {".repeat(100_000), "a ".repeat(100_000) + "{}", labelled]
    {
        assert!(error(&text).contains("nested deeper than 100 levels"));
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let original = "Kind = \"service-resolver\"\nSubsets {\n  v1 {\n    Filter = \"a == \\\"b\\\"\"\n  }\n}\n\
                    \"odd key\" {}\nLists = [\n  [1, 2.5, null],\n  {\n    a = true\n  },\n]\nDollar = \"\\u0024{x}\"\n";

    assert_eq!(write(&read(original).expect("valid")), original);
}
