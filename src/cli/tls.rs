//! `meshgate tls`: a certificate authority in files, and certificates for the HTTP API and for xDS.
//!
//! It has nothing to do with the authority of the mesh, which signs for proxies and needs no files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use x509_parser::pem::parse_x509_pem;

use super::{CliError, output};

/// Certificates are valid from a little before they are made, for those whose clock is behind.
const SKEW: Duration = Duration::minutes(1);

/// Commands about files of certificates.
#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Make a certificate authority
    #[command(subcommand)]
    Ca(CaCommand),
    /// Make certificates that an authority signs
    #[command(subcommand)]
    Cert(CertCommand),
}

/// Commands about the authority.
#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Write the certificate and the key of a new authority into this directory
    Create(CaOptions),
}

/// Commands about certificates.
#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Write a certificate and its key into this directory
    Create(CertOptions),
}

/// Options of `tls ca create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes DOMAIN-agent-ca.pem, which everybody may have, and DOMAIN-agent-ca-key.pem, which nobody else may have. Nothing that is \
there is written over.")]
pub(super) struct CaOptions {
    /// DNS domain of the agents
    #[arg(long, default_value = "consul")]
    domain: String,
    /// For how many days it is valid
    #[arg(long, default_value_t = 1825, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// Name of the authority
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    common_name: String,
    /// ID of the cluster, as a further name of the authority
    #[arg(long, default_value = "", hide_default_value = true, value_name = "UUID")]
    cluster_id: String,
    /// Let it sign for names of the domain and for localhost alone
    #[arg(long)]
    name_constraint: bool,
    /// A further domain that it may sign for; may be given several times
    #[arg(long, value_name = "DOMAIN", requires = "name_constraint")]
    additional_name_constraint: Vec<String>,
}

/// Options of `tls cert create`.
#[derive(Debug, Args)]
#[command(after_help = "\
The names that a certificate is for: server.DC.DOMAIN, client.DC.DOMAIN or cli.DC.DOMAIN, localhost and 127.0.0.1 (not for \
-cli), and what is added.

Example, for the HTTP API with TLS:
  meshgate tls ca create
  meshgate tls cert create -server -additional-dnsname meshgate.example
  # tls { https { cert_file = \"dc1-server-consul-0.pem\" key_file = \"dc1-server-consul-0-key.pem\" } }")]
pub(super) struct CertOptions {
    /// For a control plane
    #[arg(long, required_unless_present_any = ["client", "cli"], conflicts_with_all = ["client", "cli"])]
    server: bool,
    /// For an agent or a program that calls the control plane
    #[arg(long, conflicts_with = "cli")]
    client: bool,
    /// For commands
    #[arg(long)]
    cli: bool,
    /// Datacenter
    #[arg(long, default_value = "dc1", value_name = "NAME")]
    dc: String,
    /// DNS domain of the agents
    #[arg(long, default_value = "consul")]
    domain: String,
    /// Node of a server, whose name is added
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME", requires = "server")]
    node: String,
    /// For how many days it is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// A further DNS name; may be given several times
    #[arg(long, value_name = "NAME")]
    additional_dnsname: Vec<String>,
    /// A further IP address; may be given several times
    #[arg(long, value_name = "IP")]
    additional_ipaddress: Vec<IpAddr>,
    /// Certificate of the authority [default: DOMAIN-agent-ca.pem]
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Its key [default: DOMAIN-agent-ca-key.pem]
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
}

/// Runs a `tls` command.
///
/// # Errors
/// Files that cannot be read or written, or that are there already; names that no certificate can hold.
pub(super) fn run(command: TlsCommand) -> Result<(), CliError> {
    match command {
        TlsCommand::Ca(CaCommand::Create(options)) => create_ca(&options),
        TlsCommand::Cert(CertCommand::Create(options)) => create_cert(&options),
    }
}

fn create_ca(options: &CaOptions) -> Result<(), CliError> {
    let mut params = valid_for(options.days);
    let serial = Uuid::new_v4();
    let name = match options.common_name.as_str() {
        "" => format!("meshgate agent CA {}", serial.as_u128()),
        name => name.to_owned(),
    };
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !options.cluster_id.is_empty() {
        let id = format!("spiffe://{}.{}", options.cluster_id, options.domain);
        params.subject_alt_names.push(SanType::URI(id.try_into().map_err(refused)?));
    }
    if options.name_constraint {
        let domains = options.additional_name_constraint.iter().map(String::as_str);
        let domains = [options.domain.as_str(), "localhost"].into_iter().chain(domains);
        let permitted_subtrees = domains.map(|domain| GeneralSubtree::DnsName(domain.to_owned())).collect();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    }
    let key = KeyPair::generate().map_err(refused)?;
    let cert = params.self_signed(&key).map_err(refused)?;
    let (cert_file, key_file) = files_of(&format!("{}-agent-ca", options.domain));
    save(&cert_file, &key_file, &cert.pem(), &key)
}

fn create_cert(options: &CertOptions) -> Result<(), CliError> {
    let CertOptions { dc, domain, .. } = options;
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map_err(CliError::io(format!("{path} cannot be read; see meshgate tls ca create")))
    };
    let (ca_file, key_file) = files_of(&format!("{domain}-agent-ca"));
    let ca_file = options.ca.clone().unwrap_or(ca_file);
    let key_file = options.key.clone().unwrap_or(key_file);
    let ca = read(&ca_file)?;
    let ca_key = KeyPair::from_pem(&read(&key_file)?).map_err(refused)?;
    if !is_pair(&ca, &ca_key) {
        let message = format!("{key_file} is not the key of {ca_file}: nobody would take what it signs");
        return Err(CliError::Input(message));
    }
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(refused)?;
    let kind = if options.server {
        "server"
    } else if options.client {
        "client"
    } else {
        "cli"
    };
    let mut names = vec![format!("{kind}.{dc}.{domain}")];
    let mut addresses = options.additional_ipaddress.clone();
    if !options.node.is_empty() {
        names.push(format!("{}.server.{dc}.{domain}", options.node));
    }
    if !options.cli {
        names.push("localhost".to_owned());
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    names.extend(options.additional_dnsname.iter().cloned());
    let mut params = valid_for(options.days);
    params.serial_number = Some(SerialNumber::from_slice(Uuid::new_v4().as_bytes()));
    params.distinguished_name.push(DnType::CommonName, names[0].clone());
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(refused)?));
    }
    params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(refused)?;
    let cert = params.signed_by(&key, &issuer).map_err(refused)?;
    let files = (0..).map(|number| format!("{dc}-{kind}-{domain}-{number}")).map(|base| files_of(&base));
    // One of the two may be left of a call that failed, or be all that somebody keeps here.
    let is_free = |(cert, key): &(String, String)| !Path::new(cert).exists() && !Path::new(key).exists();
    let (cert_file, key_file) = files.into_iter().find(is_free).unwrap_or_default();
    save(&cert_file, &key_file, &cert.pem(), &key)
}

/// The files of a certificate and of its key.
fn files_of(base: &str) -> (String, String) {
    (format!("{base}.pem"), format!("{base}-key.pem"))
}

/// True unless a certificate is one of another key; what is no certificate is refused elsewhere.
fn is_pair(cert: &str, key: &KeyPair) -> bool {
    let Ok((_, pem)) = parse_x509_pem(cert.as_bytes()) else { return true };
    pem.parse_x509().map_or(true, |cert| cert.public_key().raw == key.subject_public_key_info())
}

fn valid_for(days: u32) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    (params.not_before, params.not_after) = (now - SKEW, now + Duration::days(days.into()));
    params
}

/// Writes both files, the key first: a certificate without its key is of no use.
fn save(cert_file: &str, key_file: &str, cert: &str, key: &KeyPair) -> Result<(), CliError> {
    for (path, text, mode) in [(key_file, key.serialize_pem(), 0o600), (cert_file, cert.to_owned(), 0o644)] {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(CliError::io(format!("{path} cannot be written")))?;
        output::line(&format!("Saved {path}"))?;
    }
    Ok(())
}

fn refused(error: rcgen::Error) -> CliError {
    CliError::Input(format!("the certificate cannot be made: {error}"))
}
