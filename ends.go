package groupcommit

import (
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/command"
	"github.com/groupcommit/groupcommit/internal/tally"
)

// ErrorClass is what kind of trouble an error of a call tells of: see [Ends]. A class says what to look after; the error itself is
// the caller's, as from the plain driver.
type ErrorClass = engine.ErrorClass

const (
	// ErrorOther is none of the others: a statement that is wrong, a value that does not fit, an error that a function of the
	// program's has raised, a database that is closed. With a driver that has no engine of its own most are.
	ErrorOther = engine.ErrorOther
	// ErrorConstraint: a constraint has refused it: unique, foreign key, NOT NULL, CHECK, exclusion; on SQLite a RAISE, too.
	ErrorConstraint = engine.ErrorConstraint
	// ErrorBusy: it has waited too long for a lock, or has lost against another transaction: busy, deadlock, serialization.
	ErrorBusy = engine.ErrorBusy
	// ErrorCanceled: its caller no longer wanted it: the context has ended, or the server has cancelled it at the program's or its
	// operator's wish (statement_timeout).
	ErrorCanceled = engine.ErrorCanceled
	// ErrorConnection: the connection was lost, or none could be made, or the server did not answer in time.
	ErrorConnection = engine.ErrorConnection
	// ErrorStorage: the disk is full, or the data cannot be read or written: an I/O error, a damaged file, one that may only be read.
	ErrorStorage = engine.ErrorStorage
)

// Ends counts how calls have ended, but for those that were executed and succeeded. Such calls are the ones that may join a group,
// whether they did or not: Execs, queries with RETURNING, promises; and all calls with an id. What ran as on the plain driver is not
// among them: transactions, and what [Stats].Apart counts, but for calls that only the database or what was learned keeps from groups
// ([WhyHook], [WhySlow], and [WhyNoRows] of a call with an id), which are in both.
type Ends struct {
	// Errors are the calls that have ended with an error, by its class; nil if there are none. That is the error which the caller
	// has got, after all retries. It is not driver.ErrBadConn where database/sql makes the call again.
	Errors map[ErrorClass]int64
	// Unknown are those of them whose outcome is not known: an [OutcomeUnknownError]. Its Cause decides the class.
	Unknown int64
	// Replays are the calls with an id that were not executed: they were answered from the record, or with the outcome of another
	// call with the id, which was under way or is remembered. A recorded error is counted among Errors, too.
	Replays int64
	// Retries is how often a transaction, of a group or of one call, was tried again after a passing error: see [Retry]. A stale
	// connection counts, too.
	Retries int64
}

func endsOf(c tally.Counts) Ends { return Ends(c) }

// CommandStats counts the commands of one kind in this process, since [Handle]. What other processes have is not among them.
type CommandStats struct {
	Durable bool

	// At present:

	Queued   int // they wait for a batch
	Running  int // in a batch that is being handled
	Retrying int // an attempt has failed, and they wait for another
	// Awaited are durable commands that callers wait for here. Another process has them, or they wait for room in the queue.
	Awaited int
	// Broken are durable commands that are recorded, and whose values do not decode: see [Commands.Recover].
	Broken int

	// Since Handle, those that have an outcome: by their handler, or replayed, or because their context or their time has ended.

	Resolved, Rejected, Canceled, TimedOut int64
	// Left are those that ended here with a [PendingError]: recorded, and for a later time or another process to carry out.
	Left int64

	Ends // Retries are those of batches
}

func commandStatsOf(s *command.Stats) CommandStats {
	return CommandStats{
		Durable: s.Durable,
		Queued:  s.Batches.Queued, Running: s.Running, Retrying: s.Retrying, Awaited: s.Awaited, Broken: s.Broken,
		Resolved: s.Resolved, Rejected: s.Rejected, Canceled: s.Canceled, TimedOut: s.TimedOut, Left: s.Left,
		Ends: endsOf(s.Counts),
	}
}

// commandStats returns the numbers of all kinds, by their names; nil if there are none.
func (d *database) commandStats() map[string]CommandStats {
	d.mu.Lock()
	runners := d.runners
	d.mu.Unlock()
	if len(runners) == 0 {
		return nil
	}
	stats := make(map[string]CommandStats, len(runners))
	for _, r := range runners {
		s := r.Stats()
		stats[r.Kind().Name()] = commandStatsOf(&s)
	}
	return stats
}
