//! How the authority comes to another root, and how the one before it goes.

use rcgen::KeyPair;
use time::OffsetDateTime;

use super::given::{Measure, read_key, read_root, try_out};
use super::root::{Cluster, cross_sign, fingerprint, generate_key, is_key_of, key_kind, make_root};
use super::tally::{Replaced, Rotations};
use super::{Authority, CaError};
use crate::model::{CaConfig, CaSettings, PrivateKey, Problem, Problems, Root};
use crate::store::{Op, StoreError, View, Write};

/// For how many lifetimes of a leaf a root is trusted after its last one: whoever was handed a leaf just before may renew it
/// late.
const LIFETIMES: u32 = 2;

impl Authority {
    /// Takes a configuration over. With another key or certificate than the active root's it makes another root active: the
    /// one before it signs the new one, unless `ForceWithoutCrossSigning` says not to, and is trusted for as long as its
    /// leaves may be in use. All leaves are renewed then. What is kept of the configuration holds no key.
    ///
    /// # Errors
    /// Every rule that the settings, the key and the certificate break, or else why the new root cannot sign or be signed, or
    /// the store cannot be written. Nothing was changed then.
    pub async fn configure(&self, config: CaConfig) -> Result<(), CaError> {
        self.take_over(Some(config)).await
    }

    /// Makes another root of the same kind active, as [`Authority::configure`] does for another key.
    ///
    /// # Errors
    /// An operator gave the root that signs now, so that only they can give another one; or as for `configure`. Nothing was
    /// changed then.
    pub async fn replace_root(&self) -> Result<(), CaError> {
        self.take_over(None).await
    }

    /// Takes a configuration over, or makes another root under the one in force. Counts roots that replace another one, and
    /// failures that are none of the operator's.
    async fn take_over(&self, config: Option<CaConfig>) -> Result<(), CaError> {
        let active = || self.shared.store.view().active_root().map(|root| root.id.clone());
        let before = active();
        let taken = self.take_over_anyway(config).await;
        let counts = match &taken {
            Ok(()) => Rotations { ok: u64::from(active() != before), failed: 0 },
            Err(CaError::Refused(_) | CaError::Store(StoreError::Rejected(_))) => Rotations::default(),
            Err(_) => Rotations { ok: 0, failed: 1 },
        };
        self.shared.tally.add(Replaced::Root, counts);
        taken
    }

    async fn take_over_anyway(&self, config: Option<CaConfig>) -> Result<(), CaError> {
        let view = self.shared.store.view();
        let active = view.active_root().ok_or(CaError::NoRoot)?.clone();
        let given = view.ca_config().map(|row| row.value.config.root_cert.clone()).unwrap_or_default();
        let measure = Measure {
            cluster: Cluster::of(&active),
            trusted: view.roots().into_iter().map(|row| (*row.value).clone()).collect(),
            now: self.shared.now(),
            leaf_ttl: config
                .as_ref()
                .map_or(self.shared.leaf_ttl(&view), |config| config.config.leaf_cert_ttl.to_std()),
        };
        let until = measure.now + self.shared.leaf_ttl(&view).max(measure.leaf_ttl) * LIFETIMES;
        let before = active.clone();
        let in_force = view.ca_config().map(|row| (*row.value).clone()).unwrap_or_default();
        let made = tokio::task::spawn_blocking(move || match config {
            Some(config) => taken_over(config, &before, given, &measure).map(|(config, root)| (Some(config), root)),
            None => another(&in_force, &before, &measure).map(|root| (None, Some(root))),
        });
        let (config, root) = made.await.map_err(|_| CaError::Stopped)??;
        let change = move |view: &View| {
            let Some(current) = view.active_root().filter(|root| root.id == active.id) else {
                return Err(Problem::rule("Config", "the root was replaced meanwhile: read it and try again").into());
            };
            let mut ops: Vec<_> = config.map(Op::PutCaConfig).into_iter().collect();
            ops.extend(root.into_iter().flat_map(|root| rotated(view, current, root, until)));
            Ok(Write::from(ops))
        };
        self.shared.store.write_with(change).await?;
        Ok(())
    }
}

/// The configuration as it is kept, with the root that it asks for if that is another one than `before`, which signs now.
/// `given` is the certificate that the configuration in force says.
fn taken_over(
    mut config: CaConfig,
    before: &Root,
    given: String,
    measure: &Measure,
) -> Result<(CaConfig, Option<Root>), CaError> {
    let key = std::mem::take(&mut config.config.private_key);
    let mut problems = config.validate();
    let asked = asked(&config.config, &key, before, &given, measure);
    let asked = asked.map_err(|found| problems.0.extend(found.0)).ok().filter(|_| problems.0.is_empty());
    let Some(asked) = asked else { return Err(CaError::Refused(problems)) };
    let make = |key: &KeyPair| made(&config, key, measure);
    let (root_cert, root) = match asked {
        Asked::Same => (given, None),
        Asked::Made(None) => (String::new(), Some(make(&new_key(&config)?)?)),
        Asked::Made(Some(key)) => {
            let root = make(&key)?;
            (root.cert_pem.clone(), Some(root))
        }
        Asked::Given(root) => (root.cert_pem.clone(), Some(*root).filter(|root| root.id != before.id)),
    };
    config.config.root_cert = root_cert;
    let root = root.map(|root| introduced(root, &config, before, measure)).transpose()?;
    Ok((config, root))
}

/// Another root than `before`, made here as the configuration in force says.
fn another(in_force: &CaConfig, before: &Root, measure: &Measure) -> Result<Root, CaError> {
    if !in_force.config.root_cert.is_empty() {
        let message = "the root that signs now was given by an operator: give another one with its key \
                       (PUT /v1/connect/ca/configuration, meshgate connect ca set-config)";
        return Err(CaError::Refused(Problem::rule("root", message).into()));
    }
    introduced(made(in_force, &new_key(in_force)?, measure)?, in_force, before, measure)
}

/// The first root of a cluster, as a configuration asks for it, with what is kept of the configuration.
///
/// # Errors
/// Every rule that the settings, the key and the certificate break, or why the root cannot sign.
pub(super) fn first(mut config: CaConfig, cluster: Cluster, now: OffsetDateTime) -> Result<(CaConfig, Root), CaError> {
    let key = std::mem::take(&mut config.config.private_key);
    let (leaf_ttl, root_ttl) = (config.config.leaf_cert_ttl.to_std(), config.config.root_cert_ttl.to_std());
    let measure = Measure { cluster, trusted: Vec::new(), now, leaf_ttl };
    let cert = config.config.root_cert.trim();
    let mut problems = config.validate();
    let key = match (key.expose(), cert) {
        ("", "") => None,
        ("", _) => {
            problems.rule("Config.PrivateKey", "is needed for a RootCert");
            None
        }
        _ => Some(read_key(&key)),
    };
    let given = match key {
        Some(key) if !cert.is_empty() => read_root(&measure, cert, key).map(|root| (None, Some(root))),
        Some(key) => key.map(|key| (Some(key), None)),
        None => Ok((None, None)),
    };
    let given = given.map_err(|found| problems.0.extend(found.0)).ok().filter(|_| problems.0.is_empty());
    let Some((key, root)) = given else { return Err(CaError::Refused(problems)) };
    let is_given = key.is_some() || root.is_some();
    let root = match root {
        Some(root) => root,
        None => {
            let key = key.map_or_else(|| new_key(&config), Ok)?;
            make_root(&measure.cluster, measure.cluster.root_name(), &key, now, root_ttl)?
        }
    };
    try_out(&root, now, leaf_ttl).map_err(CaError::Refused)?;
    config.config.root_cert = if is_given { root.cert_pem.clone() } else { String::new() };
    Ok((config, root))
}

/// A key of the kind that a configuration asks for, which was validated.
fn new_key(config: &CaConfig) -> Result<KeyPair, CaError> {
    generate_key(config.config.key_kind().unwrap_or_default())
}

/// A root that is made here, of this key.
fn made(config: &CaConfig, key: &KeyPair, measure: &Measure) -> Result<Root, CaError> {
    let cluster = &measure.cluster;
    make_root(cluster, cluster.next_root_name(), key, measure.now, config.config.root_cert_ttl.to_std())
}

/// A new root that has signed once, with what `before` says about it.
fn introduced(mut root: Root, config: &CaConfig, before: &Root, measure: &Measure) -> Result<Root, CaError> {
    try_out(&root, measure.now, measure.leaf_ttl).map_err(CaError::Refused)?;
    if !config.force_without_cross_signing {
        root.intermediates.push(cross_sign(before, &root, measure.now)?);
    }
    Ok(root)
}

/// The root that a configuration asks for.
enum Asked {
    /// The one that signs now.
    Same,
    /// One that is made, of this key if there is one.
    Made(Option<KeyPair>),
    /// One that an operator gives; it may be the one that signs now.
    Given(Box<Root>),
}

fn asked(
    settings: &CaSettings,
    key: &PrivateKey,
    before: &Root,
    given: &str,
    measure: &Measure,
) -> Result<Asked, Problems> {
    let cert = settings.root_cert.trim();
    if key.expose().is_empty() {
        return match cert {
            // One that was made of another kind of key is replaced.
            "" if given.is_empty() && settings.key_kind() == key_kind(before) => Ok(Asked::Same),
            "" => Ok(Asked::Made(None)),
            cert if fingerprint(cert).as_ref() == Some(&before.id) => Ok(Asked::Same),
            _ => {
                let message = "is needed for a RootCert other than that of the root that signs now";
                Err(Problem::rule("Config.PrivateKey", message).into())
            }
        };
    }
    let key = read_key(key);
    if !cert.is_empty() {
        return read_root(measure, cert, key).map(|root| Asked::Given(Box::new(root)));
    }
    let is_same = |key: &KeyPair| !given.is_empty() && is_key_of(key, before);
    key.map(|key| if is_same(&key) { Asked::Same } else { Asked::Made(Some(key)) })
}

/// Makes `root` the one that signs. `current` is trusted until then, or as long as one of its leaves is valid.
fn rotated(view: &View, current: &Root, root: Root, until: OffsetDateTime) -> [Op; 2] {
    let leaves = view.leaves().map(|row| &row.value).filter(|leaf| leaf.root_id == current.id);
    let until = leaves.map(|leaf| leaf.not_after).fold(until, OffsetDateTime::max);
    let retired = Root { active: false, trusted_until: Some(until), ..current.clone() };
    [Op::PutRoot(retired), Op::PutRoot(root)]
}

/// What ends the roots that nobody needs to trust any more. With the last of them, certificates that lead to it are of no
/// use.
pub(super) fn outlived(view: &View, now: OffsetDateTime) -> Vec<Op> {
    let is_over =
        |root: &Root| !root.active && (root.trusted_until.is_some_and(|until| until <= now) || root.not_after <= now);
    let (over, kept): (Vec<_>, Vec<_>) = view.roots().into_iter().map(|row| &row.value).partition(|root| is_over(root));
    let mut ops: Vec<_> = over.iter().map(|root| Op::DeleteRoot(root.id.clone())).collect();
    if let [active] = kept.as_slice()
        && !ops.is_empty()
        && !active.intermediates.is_empty()
    {
        ops.push(Op::PutRoot(Root { intermediates: Vec::new(), ..(***active).clone() }));
    }
    ops
}
