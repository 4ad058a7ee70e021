use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::azure::AzureConfig;
use super::{CloudflareConfig, CommandConfig, IptablesConfig, NginxConfig, WebhookConfig};

/// `[respond]`: what carries out a block in `mode = "enforce"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RespondConfig {
    /// Responders, by name.
    #[serde(rename = "use")]
    pub names: Vec<String>,
    /// Length of a client's first ban, in seconds; each further one is twice as long.
    #[schemars(range(min = 1))]
    pub block_duration_secs: u64,
    /// No ban is longer, in seconds.
    #[schemars(range(min = 1))]
    pub max_block_duration_secs: u64,
    /// New blocks in any minute; what goes beyond is held, and said.
    #[schemars(range(min = 1))]
    pub max_blocks_per_min: u32,
    /// Of the clients blocked in ten minutes, so many of a hundred may have been served well before;
    /// what goes beyond is held.
    #[schemars(range(min = 1, max = 100))]
    pub max_served_percent: u8,
    /// Of the clients blocked in ten minutes, so many of a hundred may be of one /16 (IPv6: /32).
    #[schemars(range(min = 1, max = 100))]
    pub max_network_percent: u8,
    /// Length in bits of the widest IPv4 network that may be blocked.
    #[schemars(range(min = 8, max = 32))]
    pub widest_v4: u8,
    /// The same of IPv6.
    #[schemars(range(min = 16, max = 128))]
    pub widest_v6: u8,
    /// Whether a network of which many clients were blocked lately is blocked as a whole.
    pub block_networks: bool,
    pub iptables: IptablesConfig,
    pub nginx: NginxConfig,
    pub cloudflare: CloudflareConfig,
    pub command: CommandConfig,
    pub webhook: WebhookConfig,
    pub azure: AzureConfig,
}

impl Default for RespondConfig {
    fn default() -> Self {
        RespondConfig {
            names: vec!["nftables".into()],
            block_duration_secs: 14_400,
            max_block_duration_secs: 604_800,
            max_blocks_per_min: 60,
            max_served_percent: 30,
            max_network_percent: 50,
            widest_v4: 16,
            widest_v6: 32,
            block_networks: false,
            iptables: IptablesConfig::default(),
            nginx: NginxConfig::default(),
            cloudflare: CloudflareConfig::default(),
            command: CommandConfig::default(),
            webhook: WebhookConfig::default(),
            azure: AzureConfig::default(),
        }
    }
}
