use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Secret;

/// `[respond.azure]`: where in Azure targets are listed, and as whom Palisade signs in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AzureConfig {
    pub mode: AzureMode,
    /// Id of the subscription.
    pub subscription: String,
    /// The resource group of what it manages.
    pub resource_group: String,
    /// Name of the firewall policy, network security group or WAF policy, by `mode`.
    pub resource: String,
    /// Whose WAF policy it is.
    pub waf: AzureWaf,
    /// What Palisade's own groups and rules are called.
    pub name: String,
    /// IP groups that targets are spread over.
    #[schemars(range(min = 1, max = 20))]
    pub groups: u32,
    /// Region of IP groups that `palisade azure init` makes.
    pub location: String,
    /// Priority of rules that `palisade azure init` makes.
    #[schemars(range(min = 1, max = 65_000))]
    pub priority: u32,
    /// What comes within so many seconds goes as one change.
    #[schemars(range(min = 1, max = 3600))]
    pub batch_secs: Option<u64>,
    /// Seconds after which a change counts as failed.
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_secs: u64,
    pub credential: AzureCredential,
    /// Id of the directory of the application that signs in.
    pub tenant_id: String,
    /// Its id; of a managed identity, which of several.
    pub client_id: String,
    pub client_secret: Secret,
    /// A file that holds the secret instead.
    pub client_secret_file: Option<PathBuf>,
    /// Where Azure Resource Manager is.
    pub endpoint: String,
    /// Where an application signs in.
    pub authority: String,
}

impl Default for AzureConfig {
    fn default() -> Self {
        AzureConfig {
            mode: AzureMode::default(),
            subscription: String::new(),
            resource_group: String::new(),
            resource: String::new(),
            waf: AzureWaf::default(),
            name: "palisade-block".into(),
            groups: 1,
            location: String::new(),
            priority: 100,
            batch_secs: None,
            timeout_secs: 900,
            credential: AzureCredential::default(),
            tenant_id: String::new(),
            client_id: String::new(),
            client_secret: Secret::default(),
            client_secret_file: None,
            endpoint: "https://management.azure.com".into(),
            authority: "https://login.microsoftonline.com".into(),
        }
    }
}

/// What lists targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AzureMode {
    /// IP groups, which a deny rule of an Azure Firewall policy names. IPv4 alone, and minutes.
    IpGroup,
    /// Deny rules of a network security group.
    #[default]
    Nsg,
    /// A custom rule of a web application firewall's policy.
    WafPolicy,
}

/// Whose web application firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AzureWaf {
    #[default]
    ApplicationGateway,
    FrontDoor,
}

/// As whom Palisade signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AzureCredential {
    /// An application, by its secret.
    #[default]
    ClientSecret,
    /// The identity of this virtual machine or App Service.
    ManagedIdentity,
    /// Whoever is signed in to `az`.
    AzureCli,
}
