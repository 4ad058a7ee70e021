//! A server of the operator's: JSON, signed as the webhook responder signs.

use serde_json::json;

use super::{Channel, Delivery, Given};
use crate::event::{Secret, Timestamp};
use crate::notify::{Message, taken};
use crate::wire::{Http, Signer};

pub struct Webhook {
    http: Http,
    url: Secret,
    signer: Signer,
}

impl Webhook {
    pub fn new(given: Given<'_>) -> Result<Webhook, String> {
        Ok(Webhook { http: given.http()?, signer: Signer::new(&given.key)?, url: given.url })
    }
}

impl Channel for Webhook {
    fn deliver<'a>(&'a self, message: &'a Message) -> Delivery<'a> {
        Box::pin(async move {
            let body = json!({ "version": 1, "event": "alert", "sent_at": Timestamp::now(), "message": message });
            let body = body.to_string();
            // Signed anew for each try: the server refuses what is old.
            let signature = self.signer.sign(Timestamp::now(), &body);
            let request = self.http.client().post(self.url.reveal());
            let request = request.header("content-type", "application/json").header("palisade-signature", signature);
            taken(self.http.ask(request.body(body)).await).map(|_| None)
        })
    }
}
