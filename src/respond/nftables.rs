//! Drops packets in the kernel through nft: a table of ours, `inet palisade`, that no other tool
//! needs to know of. What it holds ends by the kernel's own timeouts, with or without us.

mod process;
mod script;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Answer, Dropped, MAX_SECS, RespondError, Responder, child};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use process::Nft;
use script::BlockSet;

/// The nftables responder. Needs nft and CAP_NET_ADMIN.
pub struct Nftables {
    nft: Nft,
    /// The sets that the chain's rules look into.
    sets: BTreeSet<BlockSet>,
    /// The table was made a moment ago and nothing was put into it yet: as after a boot or a flush, when
    /// everything comes back at once.
    is_new: bool,
    /// When last looked at.
    dropped: Option<Dropped>,
}

impl Default for Nftables {
    fn default() -> Self {
        Nftables::with_command(vec![child::find("nft").unwrap_or_else(|| "nft".into())])
    }
}

impl Nftables {
    /// The responder that runs `command` in place of nft, such as `ip netns exec NAME nft`.
    pub fn with_command(command: Vec<String>) -> Nftables {
        Nftables { nft: Nft::new(command), sets: BlockSet::ALWAYS.into(), is_new: false, dropped: None }
    }

    async fn make_table(&mut self) -> Result<(), RespondError> {
        let mut sets = BTreeSet::from(BlockSet::ALWAYS);
        let there = self.nft.table().await?.sets;
        self.is_new = there.is_empty();
        sets.extend(there.into_keys());
        self.nft.run(&script::table(&sets)).await?;
        self.sets = sets;
        Ok(())
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        // By target: nft refuses a transaction that deletes the same element twice.
        let mut wanted = BTreeMap::new();
        for permit in permits {
            wanted.insert(permit.target().trunc(), now.secs_until(permit.expires_at()).min(MAX_SECS));
        }
        let mut sets = self.sets.clone();
        sets.extend(wanted.keys().map(BlockSet::of));
        let mut script = String::new();
        if sets.len() > self.sets.len() {
            script.push_str(&script::table(&sets));
        }
        if !std::mem::take(&mut self.is_new) {
            // An existing element's timeout is changed by some kernels only: away with it first.
            script.push_str(&script::lift(wanted.keys()));
        }
        script.push_str(&script::block(&wanted));
        self.nft.run(&script).await?;
        self.sets = sets;
        Ok(())
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        let known = |target: &IpNet| self.sets.contains(&BlockSet::of(target));
        let targets: BTreeSet<IpNet> = targets.iter().map(IpNet::trunc).filter(known).collect();
        match self.nft.run(&script::lift(&targets)).await {
            // A full set takes no `add`, not even one that is undone at once, and to open the
            // gate must always be possible: one by one, without it.
            Err(RespondError::Full { .. }) => {
                for target in &targets {
                    match self.nft.run(&script::delete(target)).await {
                        Ok(()) | Err(RespondError::Lost) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            answer => answer,
        }
    }

    async fn ask(&mut self) -> Result<Vec<Outcome>, RespondError> {
        let table = self.nft.list().await?;
        Ok(table.sets.into_values().flatten().collect())
    }

    /// A set in use cannot be removed, so what is missing shows in the rules.
    async fn look(&mut self) -> Result<(), RespondError> {
        let table = self.nft.table().await?;
        self.dropped = Some(table.dropped);
        let is_whole = table.rules == script::FIXED_RULES + self.sets.len();
        if is_whole { Ok(()) } else { Err(RespondError::Lost) }
    }
}

impl Responder for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn start(&mut self) -> Answer<'_, ()> {
        Box::pin(self.make_table())
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        Box::pin(self.ask())
    }

    fn check(&mut self) -> Answer<'_, ()> {
        Box::pin(self.look())
    }

    fn dropped(&mut self) -> Answer<'_, Option<Dropped>> {
        Box::pin(std::future::ready(Ok(self.dropped)))
    }

    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(async move { self.nft.run(&script::allow(networks)).await })
    }
}
