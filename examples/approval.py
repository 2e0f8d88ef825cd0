"""Run a branching approval flow: small expenses are paid at once, large ones wait for a decision, but not for ever.

Starts an engine (with its own PostgreSQL) and a worker, and sends five expenses through the workflow: one is small, one
is approved by an event, one is answered by nobody in time, one is withdrawn, and one is refused by the bank.
"""

from dataclasses import dataclass
from typing import Literal

from stage import console, parser_of, perform, show_tasks
from treadle import Context, NonRetryable, TaskCancelled, TaskFailed, Treadle, WorkflowRun, event, sleep

SMALL = 100
MOST_AT_THE_BANK = 5_000
PATIENCE_SECONDS = 3

app = Treadle()


@dataclass
class Expense:
    """What somebody wants to be paid for."""

    number: str
    by: str
    purpose: str
    amount: int


@dataclass
class Assessment:
    """What the rules say."""

    needs_approval: bool
    rule: str


@dataclass
class Decision:
    """What a manager says, or what is assumed when nobody says anything."""

    approved: bool
    by: str


expenses = app.workflow("expenses", input=Expense, description="From the request to the money")

# Each run waits for events of its own: those that are pushed with the number of its expense.
decided = event("expense.decided", scope="${input.number}", payload=Decision)
withdrawn = event("expense.withdrawn", scope="${input.number}")


@expenses.task
def assess(expense: Expense) -> Assessment:
    """Apply the rules."""
    small = expense.amount <= SMALL
    return Assessment(not small, f"{expense.amount} is {'at most' if small else 'more than'} {SMALL}")


@expenses.task(parents=[assess], skip_if=assess.when("output.needs_approval"))
def accept(ctx: Context) -> Decision:
    """Small expenses need nobody."""
    return Decision(approved=True, by=f"the rules: {ctx.output(assess).rule}")


@expenses.task(parents=[assess], skip_if=assess.when("!output.needs_approval"))
def ask(ctx: Context, expense: Expense) -> str:
    """Tell a manager. A real one would get a message with two buttons, each of which pushes an event."""
    ctx.log("a decision is needed", by=expense.by, amount=expense.amount)
    return f"May {expense.by} have {expense.amount} for {expense.purpose}?"


@expenses.task(parents=[ask], wait_for=decided | sleep(seconds=PATIENCE_SECONDS), cancel_if=withdrawn)
def decide(ctx: Context) -> Decision:
    """Runs when the event has come, or the time is over; while it waits it holds no slot."""
    decision = ctx.event(decided)
    return decision or Decision(approved=False, by=f"nobody within {PATIENCE_SECONDS} s")


# Of its parents one is skipped, always: then a task runs, unless its own conditions say otherwise.
@expenses.task(parents=[accept, decide], skip_if=decide.when("has(output.approved) && !output.approved"))
def pay(ctx: Context, expense: Expense) -> str:
    """Move the money."""
    decision = ctx.output(accept, default=None) or ctx.output(decide)
    if expense.amount > MOST_AT_THE_BANK:
        raise NonRetryable(f"the bank refuses {expense.amount}")
    return f"{expense.amount} paid to {expense.by}, approved by {decision.by}"


@expenses.task(parents=[decide], wait_for=decide.when("!output.approved"))
def refuse(ctx: Context, expense: Expense) -> str:
    """Bring the bad news."""
    return f"{expense.by} does not get {expense.purpose}: refused by {ctx.output(decide).by}"


@expenses.on_failure
def apologise(ctx: Context, expense: Expense) -> str:
    """Say what went wrong."""
    reasons = "; ".join(error.error_message for error in ctx.errors.values())
    return f"sorry, {expense.by}: {reasons}"


ANSWERS: list[tuple[Expense, Literal["approve", "withdraw", ""]]] = [
    (Expense("e-1", "Ada", "pencils", 12), ""),
    (Expense("e-2", "Grace", "a compiler", 900), "approve"),
    (Expense("e-3", "Charles", "an engine", 3_000), ""),
    (Expense("e-4", "Konrad", "relays", 500), "withdraw"),
    (Expense("e-5", "John", "a computer", 9_000), "approve"),
]


async def play() -> None:
    """Five expenses at the same time, each with what becomes of it."""
    runs = [(expense, await expenses.start(expense)) for expense, _ in ANSWERS]
    for expense, answer in ANSWERS:
        # Events count from the start of the run: they are not lost when nothing waits for them yet.
        if answer == "approve":
            decision = Decision(approved=True, by="the manager")
            await app.push("expense.decided", decision, scope=expense.number)
        elif answer == "withdraw":
            await app.push("expense.withdrawn", scope=expense.number, metadata={"by": expense.by})
    for expense, run in runs:
        await follow(expense, run)


async def follow(expense: Expense, run: WorkflowRun) -> None:
    """Show what becomes of one expense."""
    console.rule(f"[bold]{expense.by} asks for {expense.amount}", align="left")
    try:
        result = await run.result()
    except TaskFailed as problem:
        console.print(f"[red]failed:[/] {problem}")
        console.print((await run.outcome()).output(apologise))
    except TaskCancelled:
        console.print("[yellow]cancelled[/] and never paid")
    else:
        console.print(f"[green]done:[/] {result.output(refuse if result.skipped(pay) else pay)}")
    await show_tasks(run)


def main() -> int:
    """Run the example; the exit code."""
    arguments = parser_of(__doc__, "approval").parse_args()
    return perform(app, arguments.data_dir, play)


if __name__ == "__main__":
    raise SystemExit(main())
