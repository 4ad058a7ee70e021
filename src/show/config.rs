use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[crowdsec_api]`: decisions for CrowdSec's bouncers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CrowdsecApiConfig {
    /// Address and port to serve bouncers on, over plain HTTP. Empty: they are not served.
    pub listen: String,
}

impl CrowdsecApiConfig {
    /// Where to listen, if at all.
    ///
    /// # Errors
    /// What is wrong with `listen`.
    pub fn address(&self) -> Result<Option<SocketAddr>, &'static str> {
        address(&self.listen)
    }
}

/// `[http]`: what monitoring asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to serve `/metrics`, `/healthz` and `/readyz` on, over plain HTTP and to whoever asks.
    /// Empty: on the socket alone.
    pub listen: String,
}

impl HttpConfig {
    /// Where to listen, if at all.
    ///
    /// # Errors
    /// What is wrong with `listen`.
    pub fn address(&self) -> Result<Option<SocketAddr>, &'static str> {
        address(&self.listen)
    }
}

/// `[dashboard]`: the pages and the API for browsers and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DashboardConfig {
    /// Address and port to serve it on, over plain HTTP. Empty: it is not served.
    pub listen: String,
    /// The header in which a proxy on this host names who is signed in. Empty: passwords are asked for.
    pub user_header: String,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9393".into(), user_header: String::new() }
    }
}

impl DashboardConfig {
    /// Where to listen, if at all.
    ///
    /// # Errors
    /// What is wrong with `listen`.
    pub fn address(&self) -> Result<Option<SocketAddr>, &'static str> {
        address(&self.listen)
    }
}

fn address(listen: &str) -> Result<Option<SocketAddr>, &'static str> {
    if listen.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = listen.parse().map_err(|_| NO_ADDRESS)?;
    // Others are configured with a port: one that the kernel picks is of no use.
    if address.port() == 0 { Err(NO_ADDRESS) } else { Ok(Some(address)) }
}

const NO_ADDRESS: &str = "no address with a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
