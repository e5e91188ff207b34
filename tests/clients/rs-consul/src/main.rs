//! Registers, queries and deregisters through `CONSUL_HTTP_ADDR`, as a program would that knows nothing of meshgate.

use rs_consul::types::{
    DeregisterEntityPayload, GetServiceNodesRequest, RegisterEntityCheck, RegisterEntityPayload, RegisterEntityService,
};
use rs_consul::{Config, Consul};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::var("CONSUL_HTTP_ADDR").expect("CONSUL_HTTP_ADDR says where the agent is");
    let consul = Consul::new(Config { address: format!("http://{address}"), ..Config::default() });

    consul.register_entity(&registration()).await.expect("registers a node with a service and a check");
    let names = consul.get_all_registered_service_names(None).await.expect("lists services").response;
    assert_eq!(names, ["rs-web"]);

    let request = GetServiceNodesRequest::builder().service("rs-web").passing(true).build();
    let nodes = consul.get_service_nodes(request, None).await.expect("reads the health of a service");
    assert!(nodes.index > 0);
    let [found] = nodes.response.as_slice() else { panic!("one instance, not {:?}", nodes.response) };
    assert_eq!((found.node.node.as_str(), found.service.port), ("rs-node", 8080));
    assert_eq!(found.service.tags, ["v1"]);

    let addresses = consul.get_service_addresses_and_ports("rs-web", None).await.expect("resolves a service");
    assert_eq!(addresses, [("10.0.0.7".to_owned(), 8080)]);

    let gone = DeregisterEntityPayload {
        Node: Some("rs-node".to_owned()),
        Datacenter: None,
        CheckID: None,
        ServiceID: None,
        Namespace: None,
    };
    consul.deregister_entity(&gone).await.expect("deregisters the node");
    let names = consul.get_all_registered_service_names(None).await.expect("lists services").response;
    assert!(names.is_empty(), "{names:?}");
    println!("rs-consul: the round is done");
}

fn registration() -> RegisterEntityPayload {
    let service = RegisterEntityService::builder().Service("rs-web".to_owned()).Tags(vec!["v1".to_owned()]).Port(8080);
    let check = RegisterEntityCheck::builder()
        .Name("rs-web answers".to_owned())
        .Status("passing".to_owned())
        .ServiceID("rs-web".to_owned());
    RegisterEntityPayload::builder()
        .Node("rs-node".to_owned())
        .Address("10.0.0.7".to_owned())
        .Service(service.build())
        .Checks(vec![check.build()])
        .build()
}
