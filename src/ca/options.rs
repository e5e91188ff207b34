//! What the authority is started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::model::CaConfig;

/// Tells the time; tests move it.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// Settings of the authority.
#[derive(Clone)]
pub struct Options {
    /// UUID of the cluster, for a store without a root; random when unset.
    pub cluster_id: Option<String>,
    /// How long a leaf is valid while the store has no configuration that says it; 72 h unless set. Never longer than the
    /// root.
    pub leaf_ttl: Duration,
    /// How a store without a root gets one, and what is kept of that; as is usual where nothing is said.
    pub config: Option<CaConfig>,
    /// Where the time comes from; the system's clock unless set.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_id: None,
            config: None,
            leaf_ttl: Duration::from_secs(72 * 60 * 60),
            clock: Arc::new(OffsetDateTime::now_utc),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cluster_id", &self.cluster_id)
            .field("leaf_ttl", &self.leaf_ttl)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
