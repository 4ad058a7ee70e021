//! Has nginx refuse clients: writes a file that its configuration includes, has nginx try it, and
//! has it read again. For hosts behind a proxy or CDN, whose clients no packet filter sees.

mod list;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{self, Program};
use super::{Answer, MAX_SECS, Manner, RespondError, Responder};
use crate::decide::Permit;
use crate::event::{Outcome, Timestamp};
use list::{List, Place, Stamp};

/// `[respond.nginx]`: a file that nginx.conf includes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NginxConfig {
    /// The file, of which every line is ours.
    pub file: PathBuf,
    pub format: NginxFormat,
    /// Permissions of the file, in octal; its owner stays.
    pub mode: String,
    /// Says whether nginx would take its configuration.
    pub test: Vec<String>,
    /// Has nginx read its configuration again.
    pub reload: Vec<String>,
    /// Each of both is killed when it takes longer.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
    /// From one reload to the next at least.
    #[schemars(range(max = 600))]
    pub min_reload_secs: u64,
}

impl Default for NginxConfig {
    fn default() -> Self {
        let words = |line: &str| line.split(' ').map(String::from).collect();
        NginxConfig {
            file: "/etc/nginx/palisade.conf".into(),
            format: NginxFormat::default(),
            mode: "0644".into(),
            test: words("/usr/sbin/nginx -t -q"),
            reload: words("/usr/sbin/nginx -s reload"),
            timeout_secs: 20,
            min_reload_secs: 2,
        }
    }
}

/// What stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NginxFormat {
    /// `deny ADDRESS;`, for `http`, `server` or `location`.
    #[default]
    Deny,
    /// `ADDRESS 1;`, for a `geo` block.
    Geo,
}

/// What comes within this time is one reload.
const GATHER: Duration = Duration::from_millis(200);
/// Bans end a little late rather than by a reload each: old workers stay until their requests end.
const LOOK: Duration = Duration::from_secs(10);

/// The nginx responder.
pub struct Nginx {
    config: NginxConfig,
    place: Place,
    list: List,
    /// The file as we left it, once nginx has read it.
    loaded: Option<Stamp>,
    reloaded_at: Option<Instant>,
}

impl Nginx {
    /// # Errors
    /// What is missing in its settings.
    pub fn new(config: &NginxConfig) -> Result<Nginx, RespondError> {
        shared::absolute(&config.file, "file")?;
        for (name, line) in [("test", &config.test), ("reload", &config.reload)] {
            shared::absolute(Path::new(line.first().map_or("", String::as_str)), name)?;
        }
        let mode = u32::from_str_radix(&config.mode, 8).ok().filter(|mode| mode & !0o777 == 0);
        let Some(mode) = mode else {
            let why = format!("`mode` needs permissions such as \"0644\", not {:?}", config.mode);
            return Err(RespondError::Settings(why));
        };
        let place = Place { file: config.file.clone(), mode };
        Ok(Nginx { config: config.clone(), place, list: List::default(), loaded: None, reloaded_at: None })
    }

    async fn take_up(&mut self) -> Result<(), RespondError> {
        self.loaded = None;
        let place = self.place.clone();
        self.list.held = on_disk(move || place.read()).await?;
        Ok(())
    }

    /// Makes `list` the one that nginx has; nothing changes when it cannot.
    async fn make(&mut self, list: List) -> Result<(), RespondError> {
        let body = list.body(self.config.format);
        if self.loaded.as_ref().is_some_and(|loaded| loaded.body == body) {
            self.list = list;
            return Ok(());
        }
        if let Some(at) = self.reloaded_at {
            tokio::time::sleep_until((at + Duration::from_secs(self.config.min_reload_secs)).into()).await;
        }
        let place = self.place.clone();
        let (before, stamp) = on_disk(move || place.replace(body, Timestamp::now())).await?;
        self.loaded = None;
        if let Err(error) = self.run(&self.config.test).await {
            let place = self.place.clone();
            on_disk(move || place.put_back(before)).await?;
            return Err(error);
        }
        // From here on whoever starts or reloads nginx has it read the new list.
        self.list = list;
        self.reloaded_at = Some(Instant::now());
        self.run(&self.config.reload).await?;
        self.loaded = Some(stamp);
        Ok(())
    }

    async fn run(&self, line: &[String]) -> Result<(), RespondError> {
        let deadline = Duration::from_secs(self.config.timeout_secs);
        // Warnings come first.
        shared::run(Program { line, input: "", telling: "[emerg]", deadline }).await
    }

    async fn shut_out(&mut self, permits: &[Permit], now: Timestamp) -> Result<(), RespondError> {
        let mut list = self.list.clone();
        for permit in permits {
            match now.secs_until(permit.expires_at()) {
                0 => list.held.remove(&permit.target().trunc()),
                _ => list.held.insert(permit.target().trunc(), permit.expires_at().min(now.plus_secs(MAX_SECS))),
            };
        }
        self.make(list).await
    }

    async fn let_go(&mut self, targets: &[IpNet]) -> Result<(), RespondError> {
        let mut list = self.list.clone();
        for target in targets {
            list.held.remove(&target.trunc());
        }
        self.make(list).await
    }

    async fn look(&self) -> Result<(), RespondError> {
        let Some(loaded) = self.loaded.clone() else { return Ok(()) };
        let place = self.place.clone();
        match on_disk(move || Ok(place.stamp())).await? {
            Some(file) if file == loaded.file => Ok(()),
            _ => Err(RespondError::Lost),
        }
    }
}

impl Responder for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn manner(&self) -> Manner {
        Manner {
            is_quick: false,
            ends_bans: false,
            gather: GATHER,
            look: LOOK.max(Duration::from_secs(self.config.min_reload_secs)),
            sees_clients_behind_proxies: true,
        }
    }

    fn start(&mut self) -> Answer<'_, ()> {
        Box::pin(self.take_up())
    }

    fn apply<'a>(&'a mut self, permits: &'a [Permit], now: Timestamp) -> Answer<'a, ()> {
        Box::pin(self.shut_out(permits, now))
    }

    fn lift<'a>(&'a mut self, targets: &'a [IpNet]) -> Answer<'a, ()> {
        Box::pin(self.let_go(targets))
    }

    fn held(&mut self) -> Answer<'_, Vec<Outcome>> {
        Box::pin(async {
            let place = self.place.clone();
            let held: BTreeMap<IpNet, Timestamp> = on_disk(move || place.read()).await?;
            let now = Timestamp::now();
            let outcome = |(target, end)| Outcome { target, remaining_secs: now.secs_until(end) };
            Ok(held.into_iter().map(outcome).collect())
        })
    }

    fn check(&mut self) -> Answer<'_, ()> {
        Box::pin(self.look())
    }

    fn allow<'a>(&'a mut self, networks: &'a [IpNet]) -> Answer<'a, ()> {
        let allowed = networks.iter().map(IpNet::trunc).collect();
        Box::pin(self.make(List { allowed, held: self.list.held.clone() }))
    }
}

/// Does what may take a disk's time where nobody waits.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RespondError> + Send + 'static,
) -> Result<T, RespondError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(RespondError::Died { program: "the writer of a file".into(), reason: error.to_string() })
    })
}
