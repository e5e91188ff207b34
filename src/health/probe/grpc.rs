//! What does a server say over the gRPC health protocol?

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::tls::Tls;
use crate::health::report::Finding;
use crate::model::CheckDefinition;

/// Asks for the health of `host:port[/service]`.
pub(super) async fn run(tls: &Tls, check: &CheckDefinition) -> Finding {
    let (target, service) = check.grpc.split_once('/').unwrap_or((&check.grpc, ""));
    let what = format!("gRPC check {}", check.grpc);
    let channel = match connect(tls, target, check).await {
        Ok(channel) => channel,
        Err(error) => return Finding::critical(format!("{what}: {}", error_text(&error))),
    };
    let request = HealthCheckRequest { service: service.to_owned() };
    match HealthClient::new(channel).check(request).await {
        Err(status) => Finding::critical(format!("{what}: {}: {}", status.code(), status.message())),
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Finding::passing(format!("{what}: serving")),
            ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
                Finding::critical(format!("{what}: not serving"))
            }
        },
    }
}

async fn connect(tls: &Tls, target: &str, check: &CheckDefinition) -> Result<Channel, tonic::transport::Error> {
    // TLS is spoken by the connector, so the scheme is plain either way.
    let endpoint = Endpoint::from_shared(format!("http://{target}"))?;
    let (tls, target, check) = (tls.clone(), target.to_owned(), check.clone());
    let connector = move |_: Uri| {
        let (tls, target, check) = (tls.clone(), target.clone(), check.clone());
        async move {
            let alpn: Option<&[&str]> = check.grpc_use_tls.then_some(&["h2"]);
            tls.connect(&target, &check, alpn).await.map(TokioIo::new)
        }
    };
    endpoint.connect_with_connector(tower::service_fn(connector)).await
}

/// The transport's own text does not say what happened.
fn error_text(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
