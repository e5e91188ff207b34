//! Changes that proxies try, as the engine has them tried.

use crate::api::{PlanError, Tested, TrialError, TrialProxy, TrialQuestion};
use crate::engine::{self, Canary, Engine, TrialChange, Trying};
use crate::store::Index;

/// Has proxies of this engine try a change, and waits until they had it for as long as asked.
pub(super) async fn tried(engine: &Engine, asked: TrialQuestion) -> Result<Option<Box<dyn Tested>>, TrialError> {
    let TrialQuestion { name, candidate, terms } = asked;
    let change = TrialChange { name: name.into(), candidate };
    let Some(mut trying) = engine.try_out(change, terms.proxies).await.map_err(error)? else { return Ok(None) };
    match trying.verdict(terms.patience, terms.lasting).await {
        Ok(()) => Ok(Some(Box::new(trying))),
        Err(halt) => {
            let tried: Vec<_> = trying.canaries().iter().map(|canary| canary.proxy.to_string()).collect();
            Err(TrialError::Halted(format!(
                "nothing was stored: {halt}. Those that tried it have back what they had: {}",
                tried.join(", ")
            )))
        }
    }
}

fn error(error: engine::TrialError) -> TrialError {
    match error {
        engine::TrialError::NoEngine => TrialError::Plan(PlanError::NoEngine),
        engine::TrialError::Refused(problems) => TrialError::Refused(problems),
        engine::TrialError::Busy | engine::TrialError::Nobody { .. } => TrialError::Halted(error.to_string()),
    }
}

impl Tested for Trying {
    fn proxies(&self) -> Vec<TrialProxy> {
        self.canaries().iter().cloned().map(proxy).collect()
    }

    fn over(self: Box<Self>, made: Result<Index, String>) {
        (*self).over(made);
    }
}

fn proxy(canary: Canary) -> TrialProxy {
    let Canary { proxy, kind, envoy_version, alike } = canary;
    TrialProxy {
        datacenter: proxy.place.datacenter,
        partition: proxy.place.partition,
        node: proxy.node,
        id: proxy.id,
        kind: kind.as_str().to_owned(),
        envoy_version,
        alike,
    }
}
