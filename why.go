package groupcommit

import "github.com/groupcommit/groupcommit/internal/virtual"

// Why says why a call has joined no group: see [Explain] and [Stats]. Such a call runs as on the plain driver.
type Why uint8

const (
	WhyNot = Why(virtual.Groupable) // it may join a group

	// The text.

	WhyEmpty   = Why(virtual.Blank)     // there is no statement in it
	WhyReads   = Why(virtual.Reads)     // it only reads: a group is a transaction that writes
	WhySeveral = Why(virtual.Several)   // it has several statements, of which none may fail alone
	WhyControl = Why(virtual.Controls)  // it begins, ends or divides a transaction
	WhySession = Why(virtual.Changes)   // it changes the session, so its connection is kept for its caller
	WhyAsks    = Why(virtual.Asks)      // it asks or uses the session or the transaction: last_insert_rowid(), currval, a variable, OR ROLLBACK
	WhyUnread  = Why(virtual.Unread)    // it cannot be read for certain: a quote that does not end, say
	WhyOther   = Why(virtual.OtherKind) // it is no INSERT, UPDATE, DELETE, REPLACE or MERGE: CREATE, CALL, VACUUM

	// The connection.

	WhyInTransaction = Why(virtual.InTransaction) // a transaction of the program's is open on it
	WhyBound         = Why(virtual.Bound)         // a statement before has changed its session
	WhyHeld          = Why(virtual.Held)          // it is in use: the rows of a query are open, or a statement came before on the same *sql.Conn

	// The database.

	WhyHook      = Why(virtual.Hooked)  // a hook of the driver needs the context of each caller
	WhyNoRows    = Why(virtual.NoRows)  // its groups cannot answer with rows
	WhyPoolOfOne = Why(virtual.OneConn) // SetMaxOpenConns(1): no other caller's call can be there at the same time

	// The call.

	WhyNoBatch  = Why(virtual.Asked)    // its context is one of NoBatch
	WhyArgument = Why(virtual.NeedsOn)  // an argument is for the connection that runs it: sql.Out, an option of pgx
	WhyLarge    = Why(virtual.TooLarge) // queries of its text have had more rows than a group keeps
	WhySlow     = Why(virtual.Slow)     // calls of its text were found to be better off by themselves, for now: they are slow, or wait for locks
	WhyNoRoom   = Why(virtual.NoRoom)   // MaxLen(1), or a call above MaxBytes: there is no room in its group for another one
)

var whys = [...]struct{ label, text string }{
	WhyNot:           {"grouped", "it may share a transaction and its commit"},
	WhyEmpty:         {"empty", "there is no statement in the text"},
	WhyReads:         {"reads", "it only reads"},
	WhySeveral:       {"several", "the text has several statements"},
	WhyControl:       {"control", "it begins, ends or divides a transaction"},
	WhySession:       {"session", "it changes the session"},
	WhyAsks:          {"asks", "it asks or uses the session or the transaction"},
	WhyUnread:        {"unread", "the text cannot be read for certain"},
	WhyOther:         {"other", "it is no INSERT, UPDATE, DELETE, REPLACE or MERGE"},
	WhyInTransaction: {"transaction", "a transaction is open on its connection"},
	WhyBound:         {"bound", "the session of its connection has been changed"},
	WhyHeld:          {"held", "its connection is in use"},
	WhyHook:          {"hook", "a hook of the driver needs each caller's own context"},
	WhyNoRows:        {"norows", "groups of this database cannot answer with rows"},
	WhyPoolOfOne:     {"poolofone", "SetMaxOpenConns(1) lets no other call be there at the same time"},
	WhyNoBatch:       {"nobatch", "its context is one of NoBatch"},
	WhyArgument:      {"argument", "an argument is for the connection that runs it"},
	WhyLarge:         {"large", "queries of its text have had more rows than a group keeps"},
	WhySlow:          {"slow", "calls of its text were found to be better off by themselves"},
	WhyNoRoom:        {"noroom", "MaxLen or MaxBytes leaves no room for another call in its group"},
}

// String returns a sentence without its full stop.
func (w Why) String() string {
	if int(w) >= len(whys) {
		return "invalid"
	}
	return whys[w].text
}

// Label returns a word for a metric's label. It does not change from version to version.
func (w Why) Label() string {
	if int(w) >= len(whys) {
		return "invalid"
	}
	return whys[w].label
}

// apart returns the calls that have joined no group, by why; nil if there are none.
func (d *database) apart() map[Why]int64 {
	var calls map[Why]int64
	for why := range d.Apart {
		if n := d.Apart[why].Load(); n > 0 {
			if calls == nil {
				calls = make(map[Why]int64)
			}
			calls[Why(why)] = n
		}
	}
	return calls
}
