//! From what was read to the plan.

use ipnet::IpNet;

use super::Reading;
use crate::ask::Moment;
use crate::ask::plan::{Condition, Field, Order, Plan, Show, Step, Subject};
use crate::ask::time;
use crate::event::{Action, DecidedBy, DecisionState, Proposer, Timestamp};

/// Rows of a list, and of a ranking, where nobody says how many.
const ROWS: u32 = 100;
const RANKED: u32 = 10;
/// Up to so many hours a trend goes by the hour.
const MAX_HOURS: i64 = 72;

impl Reading<'_> {
    pub(super) fn plan(mut self, moment: &Moment) -> Result<Plan, String> {
        if self.two {
            return Err("a question can group by one thing at a time".into());
        }
        let subject = self.subject()?;
        if self.is_empty() {
            return Err("that is no question about findings or bans".into());
        }
        self.settle(subject);
        let (from, to) = self.period(moment)?;
        let limit = |usual: u32| Some(self.limit.map_or(usual, |limit| u32::try_from(limit).unwrap_or(u32::MAX)));
        let step = self.step.or_else(|| {
            let hours = (to.0 - from.0) / Step::Hour.millis();
            (self.trend || self.busiest).then_some(if hours <= MAX_HOURS { Step::Hour } else { Step::Day })
        });
        let show = self.show(subject, step.is_some());
        if let Some(when) = self.when.filter(|_| show != Show::Client) {
            return Err(format!("not understood: {when:?} of more than one client"));
        }
        let mut plan = Plan {
            show,
            of: subject,
            by: None,
            step: None,
            only: vec![],
            not: vec![],
            from,
            to,
            order: self.order,
            more_than: self.more_than,
            limit: None,
        };
        match show {
            Show::List => {
                plan.limit = limit(ROWS);
                if self.most {
                    plan.order = Order::Score;
                }
            }
            Show::Count => plan.by = if self.distinct { self.group() } else { None },
            Show::Top => {
                plan.by = self.group();
                plan.limit = limit(if self.most || self.order == Order::Score { RANKED } else { ROWS });
                // The worst of clients is who did most.
                plan.order = if self.order == Order::Score { Order::Usual } else { self.order };
            }
            Show::Trend => {
                plan.step = step;
                if self.most {
                    (plan.order, plan.limit) = (Order::Most, limit(1));
                } else if self.limit.is_some() {
                    return Err("a trend has all its steps: leave the number away".into());
                }
            }
            Show::Client => {}
        }
        if show == Show::Trend && self.group().is_some() {
            return Err("a question can group by one thing at a time".into());
        }
        for (condition, is_not) in self.conditions {
            plan.add(condition, is_not);
        }
        plan.sort();
        Ok(plan)
    }

    fn is_empty(&self) -> bool {
        let noun = self.finding || self.block || self.decision || self.person || self.blocked.is_some();
        !noun && self.conditions.is_empty() && self.by.is_none() && self.pieces.is_empty() && !self.trend
    }

    pub(super) fn has(&self, fits: impl Fn(&Condition) -> bool) -> bool {
        self.conditions.iter().any(|(condition, _)| fits(condition))
    }

    fn subject(&self) -> Result<Subject, String> {
        let of_decisions = |condition: &Condition| {
            matches!(condition, Condition::State(_) | Condition::Proposer(_) | Condition::Simulated(_))
        };
        let subject = if self.block || self.decision {
            Subject::Decisions
        } else if self.finding || self.blocked == Some(true) {
            Subject::Findings
        } else if self.has(of_decisions) {
            Subject::Decisions
        } else if self.blocked == Some(false) {
            let of_findings = |condition: &Condition| !matches!(condition, Condition::Client(_));
            let is_client = self.person || matches!(self.by, Some(Field::Client | Field::Network));
            if is_client || !self.has(of_findings) { Subject::Decisions } else { Subject::Findings }
        } else {
            Subject::Findings
        };
        let is_of_bans = self.block || self.decision || self.blocked.is_some();
        match (self.now, self.active) {
            (Some(now), _) if subject == Subject::Findings => Err(format!("not understood: {now:?} of findings")),
            (_, Some(active)) if !is_of_bans => Err(format!("not understood: {active:?} of what is no ban")),
            _ => Ok(subject),
        }
    }

    /// What words mean that mean different things of findings and of decisions.
    fn settle(&mut self, subject: Subject) {
        use DecisionState::*;
        let has_state = self.has(|condition| matches!(condition, Condition::State(_)));
        match subject {
            Subject::Findings => {
                if let Some(is_not) = self.blocked {
                    self.put(Condition::Action(vec![Action::Block]), is_not);
                }
                if let Some(is_not) = self.operator {
                    self.put(Condition::DecidedBy(vec![DecidedBy::Operator]), is_not);
                }
            }
            Subject::Decisions => {
                let is_present = self.now.is_some() || (self.present && self.blocked.is_some());
                if !has_state && is_present {
                    self.put(Condition::State(vec![Pending, Active]), false);
                } else if !has_state && (self.block || self.blocked.is_some()) {
                    self.put(Condition::State(vec![Pending, Active, Expired, Lifted]), false);
                }
                self.ever |= self.pieces.is_empty() && (is_present || self.active.is_some());
                if let Some(is_not) = self.operator {
                    self.put(Condition::Proposer(vec![Proposer::Operator]), is_not);
                }
            }
        }
    }

    fn period(&self, moment: &Moment) -> Result<(Timestamp, Timestamp), String> {
        match (self.ever, &*self.pieces) {
            (true, []) => Ok((Timestamp(0), moment.now)),
            (true, _) => Err("either ever, or a time".into()),
            (false, pieces) => time::together(pieces, moment),
        }
    }

    fn group(&self) -> Option<Field> {
        self.by.or(self.person.then_some(Field::Client))
    }

    fn show(&self, subject: Subject, has_step: bool) -> Show {
        let one_client = |networks: &Vec<IpNet>| networks.len() == 1;
        let is_one_client = matches!(&*self.conditions, [(Condition::Client(networks), false)] if one_client(networks));
        let is_about = self.about || (self.person && self.present && !self.finding);
        let is_plain = !self.count && !self.most && self.by.is_none() && !has_step;
        if is_about && is_one_client && is_plain && subject == Subject::Findings {
            return Show::Client;
        }
        if has_step {
            return Show::Trend;
        }
        if self.count && (self.distinct || self.group().is_none()) {
            return Show::Count;
        }
        let is_who = subject == Subject::Decisions && self.by.is_none() && !self.most && self.more_than.is_none();
        if self.group().is_some() && !is_who { Show::Top } else { Show::List }
    }
}
