//! Tokens for Azure Resource Manager, by azure_identity: kept until shortly before they end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::http::{AsyncRawResponse, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use reqwest::{Client, Url};

use super::{AzureConfig, AzureCredential};
use crate::event::Secret;

/// A token is replaced when it has less left than this.
const MARGIN: Duration = Duration::from_secs(300);

/// No way of signing in takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Tokens {
    config: AzureConfig,
    secret: Secret,
    client: Client,
    authority: Url,
    /// What the token is for.
    scope: String,
    credential: Option<Arc<dyn TokenCredential>>,
    token: Option<AccessToken>,
}

impl Tokens {
    pub fn new(config: &AzureConfig, secret: Secret, client: Client, endpoint: &Url, authority: Url) -> Tokens {
        let scope = format!("{}/.default", endpoint.as_str().trim_end_matches('/'));
        Tokens { config: config.clone(), secret, client, authority, scope, credential: None, token: None }
    }

    /// Forgets the token: the server refuses it.
    pub fn forget(&mut self) {
        self.token = None;
        // It keeps tokens of its own.
        self.credential = None;
    }

    /// A token that holds for some minutes.
    ///
    /// # Errors
    /// Why nobody could sign in.
    pub async fn get(&mut self) -> Result<String, String> {
        if let Some(token) = &self.token
            && OffsetDateTime::now_utc() + MARGIN < token.expires_on
        {
            return Ok(token.token.secret().to_owned());
        }
        let credential = match &self.credential {
            Some(credential) => Arc::clone(credential),
            None => self.credential().map_err(|error| error.to_string())?,
        };
        let scopes = [&*self.scope];
        let asked = tokio::time::timeout(PATIENCE, credential.get_token(&scopes, None)).await;
        let token = asked.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?;
        let token = token.map_err(|error| error.to_string())?;
        self.credential = Some(credential);
        let text = token.token.secret().to_owned();
        self.token = Some(token);
        Ok(text)
    }

    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let config = &self.config;
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let options = || ClientOptions {
            // Whoever asks for a token tries again, and says why it waits.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(Wire {
                client: self.client.clone(),
                is_plain: config.credential == AzureCredential::ClientSecret && self.authority.scheme() == "http",
            }))),
            ..ClientOptions::default()
        };
        Ok(match config.credential {
            AzureCredential::ClientSecret => {
                let mut cloud = CustomConfiguration::default();
                cloud.authority_host = self.authority.as_str().replacen("http://", "https://", 1);
                let client_options = ClientOptions { cloud: Some(Arc::new(cloud.into())), ..options() };
                let options = ClientSecretCredentialOptions { client_options };
                let secret = self.secret.reveal().to_owned().into();
                ClientSecretCredential::new(&config.tenant_id, config.client_id.clone(), secret, Some(options))?
            }
            AzureCredential::ManagedIdentity => {
                let user_assigned_id = said(&config.client_id).map(UserAssignedId::ClientId);
                let client_options = options();
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id,
                    client_options,
                }))?
            }
            AzureCredential::AzureCli => AzureCliCredential::new(Some(AzureCliCredentialOptions {
                subscription: said(&config.subscription),
                tenant_id: said(&config.tenant_id),
                executor: None,
            }))?,
        })
    }
}

/// azure_identity's requests on a client of ours. It insists on `https` for the authority; where the
/// configuration says `http`, which it may for this host alone, it is asked so.
struct Wire {
    client: Client,
    is_plain: bool,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl HttpClient for Wire {
    fn execute_request<'a, 'b, 'c>(
        &'a self,
        request: &'b Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let mut request = request.clone();
            if self.is_plain {
                // Both are schemes that URL allows to be exchanged.
                let _ = request.url_mut().set_scheme("http");
            }
            HttpClient::execute_request(&self.client, &request).await
        })
    }
}
