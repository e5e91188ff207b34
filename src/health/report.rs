//! A result, and how it becomes a row.

use crate::model::{Check, CheckDefinition, CheckStatus};
use crate::store::{CheckKey, Index, Op, Store, StoreError, Stored, View, Write};

/// What one run of a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) status: CheckStatus,
    /// What it saw, for people.
    pub(super) output: String,
}

impl Finding {
    pub(super) fn new(status: CheckStatus, output: impl Into<String>) -> Self {
        Self { status, output: output.into() }
    }

    pub(super) fn passing(output: impl Into<String>) -> Self {
        Self::new(CheckStatus::Passing, output)
    }

    pub(super) fn critical(output: impl Into<String>) -> Self {
        Self::new(CheckStatus::Critical, output)
    }

    /// True if the row does not say so yet. Output alone is no news, unless a failure has none: a commit for each run
    /// would wake everybody who watches the service.
    fn is_news_to(&self, row: &Check) -> bool {
        self.status != row.status
            || (self.status != CheckStatus::Passing && row.output.is_empty() && !self.output.is_empty())
    }

    /// The row with this result, if it differs.
    pub(super) fn applied_to(&self, row: &Check) -> Option<Op> {
        let output = || row.definition.kept(&self.output, usize::MAX).to_owned();
        let update = || Check { status: self.status, output: output(), ..row.clone() };
        self.is_news_to(row).then(|| Op::PutCheck(update()))
    }
}

/// The row that a task works for. A registration of the same ID that came later is another one.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) key: CheckKey,
    pub(super) definition: CheckDefinition,
    create_index: Index,
}

impl Subject {
    pub(super) fn of(row: &Stored<Check>) -> Self {
        Self { key: CheckKey::of(&row.value), definition: row.value.definition.clone(), create_index: row.create_index }
    }

    /// True if the row still is what this task works for.
    pub(super) fn is(&self, row: &Stored<Check>) -> bool {
        row.create_index == self.create_index && row.value.definition == self.definition
    }

    /// The row, if it still is there.
    pub(super) fn row<'v>(&self, view: &'v View) -> Option<&'v Stored<Check>> {
        view.check(&self.key).filter(|row| self.is(row))
    }

    /// Writes a result if it is news, and if `is_current` holds in the moment of the commit.
    pub(super) async fn report(
        &self,
        store: &Store,
        finding: Finding,
        is_current: impl Fn() -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        if self.news(&store.view(), &finding).is_none() {
            return Ok(());
        }
        let subject = self.clone();
        let decide = move |view: &View| {
            let op = subject.news(view, &finding).filter(|_| is_current());
            Ok(Write::from(op.into_iter().collect::<Vec<_>>()))
        };
        store.write_with(decide).await.map(drop)
    }

    fn news(&self, view: &View, finding: &Finding) -> Option<Op> {
        finding.applied_to(&self.row(view)?.value)
    }
}
