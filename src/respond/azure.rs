//! Has Azure shut targets out, by the lists of an IP group, a network security group or a WAF policy.
//! Desired state: a list is read, merged with what should stand in it, written back if it differs, and
//! in force when Azure's operation has ended, which takes seconds to minutes.
//!
//! Whose an entry is Azure does not say: ours is what was ordered since the start, which after a restart
//! are all bans in force. Everything else is left alone, unless it is lifted by name.

#[cfg(feature = "azure")]
mod arm;
mod config;
#[cfg(feature = "azure")]
mod init;
#[cfg(feature = "azure")]
mod list;
#[cfg(feature = "azure")]
mod responder;
#[cfg(feature = "azure")]
mod tokens;

pub use config::{AzureConfig, AzureCredential, AzureMode, AzureWaf};
#[cfg(feature = "azure")]
pub use init::{Level, Note};
#[cfg(feature = "azure")]
pub use responder::Azure;

use super::{RespondError, Responder};

/// The responder of these settings.
///
/// # Errors
/// What is missing in them; this program was built without Azure.
pub(super) fn build(config: &AzureConfig) -> Result<Box<dyn Responder>, RespondError> {
    #[cfg(feature = "azure")]
    return Ok(Box::new(Azure::new(config)?));
    #[cfg(not(feature = "azure"))]
    {
        let _ = config;
        Err(RespondError::Settings("this palisade is built without Azure (the cargo feature `azure`)".into()))
    }
}
