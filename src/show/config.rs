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
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address: SocketAddr = self.listen.parse().map_err(|_| NO_ADDRESS)?;
        // Bouncers are configured with a port: one that the kernel picks is of no use.
        if address.port() == 0 { Err(NO_ADDRESS) } else { Ok(Some(address)) }
    }
}

const NO_ADDRESS: &str = "no address with a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
