//! Services and proxies as operators name them.

use super::error::ApiError;
use crate::model::{
    InstanceId, Namespace, NodeName, Partition, Place, ServiceId, ServiceKey, ServiceKind, ServiceName,
};
use crate::store::{NodeKey, Reader};

/// A service by as much of its name as is said: `[partition/[namespace/]]name[@datacenter or peer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its partition, if one is said.
    pub partition: Option<Partition>,
    /// Its namespace, if one is said.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: String,
    /// The datacenter or peer that it is in, if one is said.
    pub at: Option<At>,
}

/// Where a service is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// In a datacenter, or in a peer: whatever has this name.
    Either(String),
    /// In a datacenter.
    Datacenter(String),
    /// In a peer.
    Peer(String),
}

impl At {
    /// True if it may be this datacenter.
    pub fn may_be_datacenter(&self, name: &str) -> bool {
        match self {
            At::Either(said) | At::Datacenter(said) => said == name,
            At::Peer(_) => false,
        }
    }

    /// True if it may be this peer.
    pub fn may_be_peer(&self, name: &str) -> bool {
        match self {
            At::Either(said) | At::Peer(said) => said == name,
            At::Datacenter(_) => false,
        }
    }
}

impl Named {
    /// Reads `api`, `api@dc2`, `api?dc=dc2`, `api?peer=alpha`, `team-a/api` or `team-a/default/api`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} names no service: expected name, name@datacenter, name@peer, partition/name or \
                 partition/namespace/name"
            )
        };
        let (name, at) = match text.split_once(['@', '?']) {
            None => (text, None),
            Some((name, at)) if text[name.len()..].starts_with('@') => (name, Some(At::Either(at.to_owned()))),
            Some((name, at)) => match at.split_once('=') {
                Some(("dc", datacenter)) => (name, Some(At::Datacenter(datacenter.to_owned()))),
                Some(("peer", peer)) => (name, Some(At::Peer(peer.to_owned()))),
                _ => return Err(wrong()),
            },
        };
        let (partition, namespace, name) = match *name.split('/').collect::<Vec<_>>().as_slice() {
            [name] => (None, None, name),
            [partition, name] => (Some(partition), None, name),
            [partition, namespace, name] => (Some(partition), Some(namespace), name),
            _ => return Err(wrong()),
        };
        let said_nothing = |at: &At| match at {
            At::Either(name) | At::Datacenter(name) | At::Peer(name) => name.is_empty(),
        };
        if name.is_empty() || [partition, namespace].contains(&Some("")) || at.as_ref().is_some_and(said_nothing) {
            return Err(wrong());
        }
        let (partition, namespace) = (partition.map(Partition::from), namespace.map(Namespace::from));
        Ok(Self { partition, namespace, name: name.to_owned(), at })
    }

    /// The service for somebody in this partition and namespace.
    pub fn service(&self, partition: &Partition, namespace: &Namespace) -> ServiceName {
        let partition = self.partition.as_ref().unwrap_or(partition);
        ServiceName::new(partition, self.namespace.as_ref().unwrap_or(namespace), &self.name)
    }
}

/// The proxy of a place with this ID; where there is none, the sidecar of the service with this name that sorts first.
pub(super) fn proxy(
    reader: &Reader<'_>,
    place: &Place,
    node: Option<&str>,
    text: &str,
) -> Result<InstanceId, ApiError> {
    let id = ServiceId::from(text);
    let nodes: Vec<NodeName> = match node {
        Some(node) => vec![NodeName::from(node)],
        None => reader.nodes(place).map(|row| row.value.node.clone()).collect(),
    };
    let on = |node: &NodeName| NodeKey::new(place, node).instance(&id);
    let found: Vec<_> = nodes.iter().map(on).filter(|id| reader.service(id).is_some()).collect();
    let is_proxy = |id: &&InstanceId| reader.service(id).is_some_and(|row| row.value.is_proxy());
    let proxies: Vec<_> = found.iter().filter(is_proxy).collect();
    match proxies.as_slice() {
        [only] => return Ok((*only).clone()),
        [] => {}
        several => {
            let nodes: Vec<_> = several.iter().map(|id| id.node.as_str()).collect();
            return Err(ApiError::Unclear(format!(
                "proxy {text:?} is registered on the nodes {}: say with node= which one is meant",
                nodes.join(", ")
            )));
        }
    }
    let service = Named::parse(text).map_err(ApiError::Unclear)?.service(&place.partition, &Namespace::default());
    if let Some(sidecar) =
        sidecars(reader, &ServiceKey { datacenter: place.datacenter.clone(), service }).into_iter().next()
    {
        return Ok(sidecar);
    }
    let what = if found.is_empty() { "no proxy or service has it" } else { "it is an application without a sidecar" };
    Err(ApiError::NotThere(format!(
        "there is no proxy {text:?} in datacenter {}, partition {}: {what}; `meshgate catalog services` lists what is \
         registered",
        place.datacenter, place.partition
    )))
}

/// The sidecars of a service, sorted.
pub(super) fn sidecars(reader: &Reader<'_>, service: &ServiceKey) -> Vec<InstanceId> {
    let place = service.place();
    let rows = reader.endpoints(service).into_iter();
    let sidecars = rows.filter(|row| row.service.value.kind == ServiceKind::ConnectProxy);
    let mut ids: Vec<_> =
        sidecars.map(|row| NodeKey::new(&place, &row.node.value.node).instance(&row.service.value.id)).collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_operators_write_them() {
        let named = |text: &str| Named::parse(text).expect(text);

        assert_eq!((named("api").partition, named("api").at), (None, None));
        assert_eq!(named("api@dc2").at, Some(At::Either("dc2".to_owned())));
        assert_eq!(named("api?dc=dc2").at, Some(At::Datacenter("dc2".to_owned())));
        assert_eq!(named("a/api?peer=p").at, Some(At::Peer("p".to_owned())));
        assert_eq!(named("a/b/api").namespace, Some(Namespace::from("b")));
        for text in ["", "/api", "a//api", "a/b/c/d", "api@", "api?x=1", "@dc2"] {
            assert!(Named::parse(text).is_err(), "{text}");
        }
    }
}
