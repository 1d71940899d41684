package engine

// ErrorClass is what kind of trouble an error of a call tells of, for counting: see [Traits].Class. There are few, each database can
// tell them, and each asks something else of whoever looks after the program.
type ErrorClass uint8

const (
	// ErrorOther is none of the others: a statement that is wrong, a value that does not fit, an error that a function of the
	// program's has raised, a database that is closed.
	ErrorOther ErrorClass = iota
	// ErrorConstraint: a constraint has refused it: unique, foreign key, NOT NULL, CHECK, exclusion; on SQLite a RAISE, too.
	ErrorConstraint
	// ErrorBusy: it has waited too long for a lock, or has lost against another transaction: busy, deadlock, serialization.
	ErrorBusy
	// ErrorCanceled: its caller no longer wanted it: the context has ended, or the server has cancelled it at the program's or its
	// operator's wish (statement_timeout).
	ErrorCanceled
	// ErrorConnection: the connection was lost, or none could be made, or the server did not answer in time.
	ErrorConnection
	// ErrorStorage: the disk is full, or the data cannot be read or written: an I/O error, a damaged file, one that may only be read.
	ErrorStorage

	// ErrorClasses is their number.
	ErrorClasses = iota
)

var classes = [ErrorClasses]struct{ label, text string }{
	ErrorOther:      {"other", "another error"},
	ErrorConstraint: {"constraint", "a constraint has refused it"},
	ErrorBusy:       {"busy", "it has waited too long for a lock, or has lost against another transaction"},
	ErrorCanceled:   {"canceled", "it was cancelled, or its time was over"},
	ErrorConnection: {"connection", "the connection was lost, or none could be made"},
	ErrorStorage:    {"storage", "the disk is full, or could not be read or written"},
}

// String returns a sentence without its full stop.
func (c ErrorClass) String() string {
	if int(c) >= len(classes) {
		return "invalid"
	}
	return classes[c].text
}

// Label returns a word for a metric's label. It does not change from version to version.
func (c ErrorClass) Label() string {
	if int(c) >= len(classes) {
		return "invalid"
	}
	return classes[c].label
}
