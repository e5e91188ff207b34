use crate::codec::{Format, definitions};
use crate::model::{ConfigEntry, EntryKey, Namespace, Partition};

/// The keys of the entries of a text, once stored.
fn keys(text: &str) -> Vec<String> {
    let found = definitions(text.as_bytes(), Format::Yaml).unwrap_or_else(|problems| panic!("{problems}"));
    let key = |mut entry: ConfigEntry| -> EntryKey {
        entry.normalize(&Partition::default(), &Namespace::default());
        entry.key()
    };
    found.entries.into_iter().map(|entry| key(entry).to_string()).collect()
}

fn refused(text: &str) -> Vec<String> {
    definitions(text.as_bytes(), Format::Yaml).expect_err(text).0.iter().map(ToString::to_string).collect()
}

fn resource(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: consul.hashicorp.com/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n")
}

#[test]
fn names_and_namespaces_come_from_the_metadata_or_the_destination() {
    for (text, expected) in [
        (resource("ServiceDefaults", "{name: web, namespace: shop}", "{}"), "service-defaults/default/shop/web"),
        // These belong to no namespace, wherever the resource is.
        (resource("ProxyDefaults", "{name: global, namespace: consul}", "{}"), "proxy-defaults/global"),
        (resource("Mesh", "{name: mesh, namespace: consul}", "{}"), "mesh/mesh"),
        (
            resource("ServiceIntentions", "{name: x, namespace: shop}", "{destination: {name: db}}"),
            "service-intentions/default/shop/db",
        ),
        (
            resource("ServiceIntentions", "{name: x, namespace: shop}", "{destination: {name: db, namespace: data}}"),
            "service-intentions/default/data/db",
        ),
        (resource("ExportedServices", "{name: team-a}", "{services: []}"), "exported-services/team-a/default/team-a"),
    ] {
        assert_eq!(keys(&text), [expected], "{text}");
    }
}

#[test]
fn exported_services_are_of_the_namespace_of_the_resource_unless_they_say_another() {
    let spec = "{services: [{name: a, consumers: [{peer: p}]}, {name: b, namespace: data, consumers: [{peer: p}]}]}";
    let text = resource("ExportedServices", "{name: default, namespace: shop}", spec);

    let found = definitions(text.as_bytes(), Format::Yaml).expect("valid");

    let [ConfigEntry::ExportedServices(entry)] = found.entries.as_slice() else { panic!("one entry") };
    let namespaces: Vec<_> = entry.services.iter().map(|service| service.namespace.as_str()).collect();
    assert_eq!(namespaces, ["shop", "data"]);
}

#[test]
fn documents_lists_and_entries_of_the_other_format_mix() {
    let text = resource("ServiceDefaults", "{name: a}", "{}")
        + "---\nKind: service-defaults\nName: b\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: \
           consul.hashicorp.com/v1alpha1\n  kind: ServiceDefaults\n  metadata: {name: c, uid: x}\n  status: {}\n";

    assert_eq!(keys(&text), ["service-defaults/a", "service-defaults/b", "service-defaults/c"]);
}

#[test]
fn what_is_no_config_entry_says_what_it_is() {
    for (text, expected) in [
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            "line 1: apiVersion: \"apps/v1\" has no config entries: expected \
          \"consul.hashicorp.com/v1alpha1\""
                .to_owned(),
        ),
        (
            &resource("PeeringDialer", "{name: a}", "{}"),
            "line 2: kind: invalid kind: PeeringDialer, which is no config entry".to_owned(),
        ),
        (
            &resource("ServiceDefault", "{name: a}", "{}"),
            "line 2: kind: invalid kind: ServiceDefault, did you mean \"ServiceDefaults\"?".to_owned(),
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
    let other = refused(&resource("JWTProvider", "{name: a}", "{}")).concat();
    assert!(
        other.starts_with("line 2: kind: invalid kind: JWTProvider, of which meshgate keeps no entries"),
        "{other}"
    );
}

#[test]
fn problems_of_a_list_name_the_item() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: consul.hashicorp.com/v1alpha1\n  kind: ServiceSplitter\n  \
                metadata: {name: web}\n  spec:\n    splits:\n    - weight: heavy\n";

    assert_eq!(
        refused(text),
        ["line 9: items[0].spec.splits[0].weight: expected a number, found the string \"heavy\""]
    );
}
