//! How the authority comes to another root, and how the one before it goes.

use rcgen::KeyPair;
use time::OffsetDateTime;

use super::root::{Cluster, cross_sign, fingerprint, generate_key, is_key_of, make_root, read_key, read_root};
use super::{Authority, CaError};
use crate::model::{CaConfig, PrivateKey, Problem, Root};
use crate::store::{Op, View, Write};

/// For how many lifetimes of a leaf a root is trusted after its last one: whoever was handed a leaf just before may renew it
/// late.
const LIFETIMES: u32 = 2;

impl Authority {
    /// Takes a configuration over. With another key or certificate than the active root's it makes another root active: the
    /// one before it signs the new one, unless `ForceWithoutCrossSigning` says not to, and is trusted for as long as its
    /// leaves may be in use. All leaves are renewed then. What is kept of the configuration holds no key.
    ///
    /// # Errors
    /// Every rule that the configuration breaks, or the store cannot be written. Nothing was changed then.
    pub async fn configure(&self, mut config: CaConfig) -> Result<(), CaError> {
        config.validate().into_result().map_err(CaError::Refused)?;
        let key = std::mem::take(&mut config.config.private_key);
        let view = self.shared.store.view();
        let active = view.active_root().ok_or(CaError::NoRoot)?.clone();
        let given = view.ca_config().map(|row| row.value.config.root_cert.clone()).unwrap_or_default();
        let now = self.shared.now();
        let leaf_ttl =
            view.ca_config().map_or(self.shared.options.leaf_ttl, |row| row.value.config.leaf_cert_ttl.to_std());
        let leaf_ttl = leaf_ttl.max(config.config.leaf_cert_ttl.to_std());
        let before = active.clone();
        let made = tokio::task::spawn_blocking(move || {
            let made = other_root(&mut config, &key, &before, &given, now)?;
            let signed = made.map(|mut root| {
                if !config.force_without_cross_signing {
                    root.intermediates.push(cross_sign(&before, &root, now)?);
                }
                Ok::<_, CaError>(root)
            });
            Ok::<_, CaError>((config, signed.transpose()?))
        });
        let (config, root) = made.await.map_err(|_| CaError::Stopped)??;
        let change = move |view: &View| {
            let Some(current) = view.active_root().filter(|root| root.id == active.id) else {
                return Err(Problem::rule("Config", "the root was replaced meanwhile: read it and try again").into());
            };
            let mut ops = vec![Op::PutCaConfig(config)];
            ops.extend(root.into_iter().flat_map(|root| rotated(view, current, root, now + leaf_ttl * LIFETIMES)));
            Ok(Write::from(ops))
        };
        self.shared.store.write_with(change).await?;
        Ok(())
    }
}

/// The root that a configuration asks for, if it is another one than `before`, which signs now. `given` is the certificate
/// that the configuration in force says; what the new one will say is put into it.
fn other_root(
    config: &mut CaConfig,
    key: &PrivateKey,
    before: &Root,
    given: &str,
    now: OffsetDateTime,
) -> Result<Option<Root>, CaError> {
    let cluster = Cluster::of(before);
    let ttl = config.config.root_cert_ttl.to_std();
    let make = |key: &KeyPair| make_root(&cluster, cluster.next_root_name(), key, now, ttl);
    let asked = std::mem::replace(&mut config.config.root_cert, given.to_owned());
    let asked = asked.trim();
    if key.expose().is_empty() {
        return match asked {
            "" if given.is_empty() => Ok(None),
            "" => {
                config.config.root_cert.clear();
                make(&generate_key()?).map(Some)
            }
            asked if fingerprint(asked).as_ref() == Some(&before.id) => Ok(None),
            _ => {
                let message = "is needed for a RootCert other than that of the root that signs now";
                Err(CaError::Refused(Problem::rule("Config.PrivateKey", message).into()))
            }
        };
    }
    let key = read_key(key)?;
    let root = match asked {
        "" if !given.is_empty() && is_key_of(&key, before) => return Ok(None),
        "" => make(&key)?,
        asked => read_root(&cluster, asked, &key, now)?,
    };
    config.config.root_cert.clone_from(&root.cert_pem);
    Ok((root.id != before.id).then_some(root))
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
