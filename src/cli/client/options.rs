//! The options that every client command shares, with the variables that Consul's client honours.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::{Certificate, ClientBuilder, Identity};

use super::{ApiAddress, Client, ClientError, quoted};
use crate::model::{Namespace, Partition};

/// Where an agent serves its API unless it is told otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";

/// How the HTTP API is reached and on whose behalf.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "HTTP API options")]
pub(crate) struct ClientOptions {
    /// Address of the agent: host:port, a URL, or unix:///path
    #[arg(long, alias = "addr", env = "CONSUL_HTTP_ADDR", default_value = DEFAULT_ADDRESS, value_name = "ADDRESS")]
    pub(crate) http_addr: String,
    /// Tell each call of the API as a curl command; what would change something is told and not done
    #[arg(long)]
    pub(super) explain_api: bool,
    /// ACL token
    #[arg(long, env = "CONSUL_HTTP_TOKEN", default_value = "", hide_default_value = true, hide_env_values = true)]
    token: String,
    /// File with the ACL token
    #[arg(long, env = "CONSUL_HTTP_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Admin partition that the command is about
    #[arg(long, env = "CONSUL_PARTITION", default_value = "", hide_default_value = true)]
    pub(crate) partition: String,
    /// Namespace that the command is about
    #[arg(long, env = "CONSUL_NAMESPACE", default_value = "", hide_default_value = true)]
    pub(crate) namespace: String,
    /// Let any server answer
    #[arg(long)]
    pub(crate) stale: bool,
    /// Speak TLS to an address that names no scheme
    #[arg(long = "http-ssl", env = "CONSUL_HTTP_SSL", hide = true)]
    ssl: bool,
    /// Verify the server's certificate
    #[arg(long = "http-ssl-verify", env = "CONSUL_HTTP_SSL_VERIFY", default_value = "true", hide = true, value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub(super) ssl_verify: bool,
    /// User and password for basic authentication
    #[arg(long = "http-auth", env = "CONSUL_HTTP_AUTH", default_value = "", hide = true, hide_env_values = true)]
    auth: String,
    /// Certificates to verify the agent with
    #[arg(long, env = "CONSUL_CACERT", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Directory of certificates to verify the agent with
    #[arg(long, env = "CONSUL_CAPATH", value_name = "DIR")]
    pub(crate) ca_path: Option<PathBuf>,
    /// Name that the agent's certificate must be for, where its address says another
    #[arg(long, env = "CONSUL_TLS_SERVER_NAME", default_value = "", hide_default_value = true, value_name = "NAME")]
    pub(super) tls_server_name: String,
    /// Certificate to show to the agent
    #[arg(long, env = "CONSUL_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, env = "CONSUL_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// The datacenter that a command is about.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DatacenterOption {
    /// Datacenter that the command is about; the agent's own when empty
    #[arg(long, alias = "dc", default_value = "", hide_default_value = true, help_heading = "HTTP API options")]
    pub(crate) datacenter: String,
}

/// Which control plane a command asks, and about which datacenter.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    datacenter: DatacenterOption,
    #[command(flatten)]
    client: ClientOptions,
}

impl Target {
    /// A client as the options say.
    ///
    /// # Errors
    /// The address, a file or the TLS options cannot be used.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.client, &self.datacenter.datacenter)
    }

    /// Partition and namespace of what names none itself.
    pub(crate) fn tenancy(&self) -> (Partition, Namespace) {
        self.client.tenancy()
    }

    /// Partition and namespace as the options say them; empty where they do not.
    pub(crate) fn said_tenancy(&self) -> (&str, &str) {
        (&self.client.partition, &self.client.namespace)
    }
}

impl ClientOptions {
    /// Where the API is.
    ///
    /// # Errors
    /// The address cannot be understood.
    pub(crate) fn address(&self) -> Result<ApiAddress, ClientError> {
        // An empty variable means the same as none.
        let text = if self.http_addr.is_empty() { DEFAULT_ADDRESS } else { &self.http_addr };
        ApiAddress::parse(text, self.ssl)
    }

    /// Partition and namespace of what names none itself.
    pub(crate) fn tenancy(&self) -> (Partition, Namespace) {
        (Partition::from(&*self.partition), Namespace::from(&*self.namespace))
    }

    /// The token; a file wins over the option, as in Consul.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn token(&self) -> Result<String, ClientError> {
        match &self.token_file {
            Some(path) => Ok(read(path)?.trim().to_owned()),
            None => Ok(self.token.clone()),
        }
    }

    pub(super) fn basic_auth(&self) -> Option<(String, String)> {
        if self.auth.is_empty() {
            return None;
        }
        let (user, password) = self.auth.split_once(':').unwrap_or((&self.auth, ""));
        Some((user.to_owned(), password.to_owned()))
    }

    /// The name that the agent's certificate must be for; `None` for that of its address.
    pub(super) fn tls_server_name(&self) -> Option<&str> {
        Some(self.tls_server_name.as_str()).filter(|name| !name.is_empty())
    }

    /// What `curl` needs to connect to this address as the options say.
    pub(super) fn curl(&self, address: &ApiAddress) -> Vec<String> {
        let base = address.base();
        let mut words = Vec::new();
        if let Some(socket) = address.socket() {
            words.push(format!("--unix-socket {}", quoted(&socket.display().to_string())));
        }
        if base.scheme() != "https" {
            return words;
        }
        let ca_path = self.ca_path.as_ref().filter(|_| self.ca_file.is_none());
        let files = [("--cacert", self.ca_file.as_ref()), ("--capath", ca_path)];
        let identity = self.client_cert.as_ref().zip(self.client_key.as_ref());
        let identity = identity.map(|(certificate, key)| [("--cert", Some(certificate)), ("--key", Some(key))]);
        let named =
            files.into_iter().chain(identity.into_iter().flatten()).filter_map(|(word, path)| Some((word, path?)));
        words.extend(named.map(|(word, path)| format!("{word} {}", quoted(&path.display().to_string()))));
        if !self.ssl_verify {
            words.push("--insecure".to_owned());
        }
        if let Some(name) = self.tls_server_name() {
            let (host, port) = (base.host_str().unwrap_or_default(), base.port_or_known_default().unwrap_or_default());
            words.push(format!("--connect-to {}", quoted(&format!("{name}:{port}:{host}:{port}"))));
        }
        words
    }

    /// Adds what the options say about TLS, for an address with this scheme.
    pub(super) fn tls(&self, mut builder: ClientBuilder, scheme: &str) -> Result<ClientBuilder, ClientError> {
        if let Some(pem) = read_ca(self.ca_file.as_deref(), self.ca_path.as_deref())? {
            let roots = Certificate::from_pem_bundle(pem.as_bytes()).map_err(ClientError::Tls)?;
            builder = builder.tls_certs_only(roots);
        } else if scheme == "http" {
            // Small images have no certificates of the system, which would be looked for even so.
            builder = builder.tls_certs_only([]);
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            let pem = format!("{}\n{}", read(certificate)?, read(key)?);
            builder = builder.identity(Identity::from_pem(pem.as_bytes()).map_err(ClientError::Tls)?);
        }
        if !self.ssl_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        Ok(builder)
    }
}

/// The certificates of a file, or of every file of a directory in the order of their names.
///
/// # Errors
/// Something cannot be read.
pub(crate) fn read_ca(file: Option<&Path>, directory: Option<&Path>) -> Result<Option<String>, ClientError> {
    if let Some(file) = file {
        return read(file).map(Some);
    }
    let Some(directory) = directory else { return Ok(None) };
    let refused = |error: std::io::Error| ClientError::File { path: directory.to_owned(), message: error.to_string() };
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(refused)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if texts.is_empty() {
        let message = "the directory holds no certificates".to_owned();
        return Err(ClientError::File { path: directory.to_owned(), message });
    }
    Ok(Some(texts.join("\n")))
}

fn read(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path)
        .map_err(|error| ClientError::File { path: path.to_owned(), message: error.to_string() })
}
