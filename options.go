package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// An Option changes how a database groups its calls. Options are given to [Open], [Register] or [NewConnector]. Those with a
// number may also stand in the data source name, as groupcommit_ and the option's name in lower case. There they override those in
// code:
//
//	app.db?groupcommit_maxlen=500&_journal=WAL
//	postgres://localhost/app?groupcommit_maxdelay=2ms
//	host=localhost dbname=app groupcommit_maxqueue=100
//
// The wrapped driver does not see them.
type Option interface{ setDatabase(*limits) error }

// A HandlerOption changes how the commands of one handler are carried out. HandlerOptions are given to [Handle].
type HandlerOption interface{ setHandler(*handling) error }

// A SharedOption is an option of a database and of a handler. A handler has its database's value unless the option is given.
type SharedOption interface {
	Option
	HandlerOption
}

// The three kinds of options. Each has only the methods of its place, so the compiler refuses an option elsewhere.
type (
	databaseOption func(*limits) error
	handlerOption  func(*handling) error
	sharedOption   func(*limits) error
)

func (o databaseOption) setDatabase(l *limits) error { return o(l) }
func (o handlerOption) setHandler(h *handling) error { return o(h) }
func (o sharedOption) setDatabase(l *limits) error   { return o(l) }
func (o sharedOption) setHandler(h *handling) error  { return o(&h.limits) }

// limits are the options' values. The zero value is not useful; defaults is.
type limits struct {
	maxLen       int
	maxBytes     int
	maxQueue     int
	maxDelay     time.Duration
	writers      int
	lockWait     time.Duration
	maxTime      time.Duration
	mode         GroupMode
	sync         SyncMode
	durableReads bool
	manyRows     bool
	promises     bool
	keep         time.Duration // of completed promises; 0: for ever
	retry        RetryPolicy   // nil: defaultRetry
	onGroup      func(GroupInfo)
	physical     int                       // 0: as many connections as the program's pool has
	partition    func(context.Context) any // nil: all calls may share a group
	engine       Engine
	inDSN        []string // the options that stood in the data source name
}

var defaults = limits{
	maxLen: 1000, maxBytes: 16 << 20, maxQueue: 10_000, manyRows: true,
	lockWait: 200 * time.Millisecond, maxTime: time.Minute, keep: 24 * time.Hour,
}

// MaxLen bounds the calls of one group. At least 1, which turns batching off; the default is 1,000.
func MaxLen(n int) SharedOption {
	return sharedOption(positive("MaxLen", n, func(l *limits) { l.maxLen = n }))
}

// MaxBytes bounds the bytes of one group, counting the text and the arguments of each call. A larger call runs alone. At
// least 1; the default is 16 MiB.
func MaxBytes(n int) Option {
	return databaseOption(positive("MaxBytes", n, func(l *limits) { l.maxBytes = n }))
}

// MaxQueue bounds the calls that wait for a group. When the queue is full, a further Exec or [Go] waits for room, in the
// order of arrival and no longer than its context allows. At least 1; the default is 10,000.
func MaxQueue(n int) SharedOption {
	return sharedOption(positive("MaxQueue", n, func(l *limits) { l.maxQueue = n }))
}

// MaxDelay lets a group wait for more calls until it is full or its oldest call has waited for d. 0, the default, means no
// waiting: a group takes the calls that queued up while the group before it was committed. A delay makes every lone call
// slower by d, and seldom pays.
func MaxDelay(d time.Duration) SharedOption {
	return sharedOption(func(l *limits) error {
		if d < 0 {
			return badOption("MaxDelay", d.String(), "a duration of 0 or more, such as 2ms")
		}
		l.maxDelay = d
		return nil
	})
}

// Writers bounds how many groups may run at the same time, each on its own connection: from 1 to 1000. Without it the bound is
// 1000 on PostgreSQL and on a database of which nothing is known. It is never more than the connections that there may be, by
// [Physical], by SetMaxOpenConns and by what the server has refused lately. How many do run is learned, as far as that pays:
// [Stats].Lanes tells. A group that takes much longer than was to be expected does not count. With more than one, the calls of
// one goroutine's [Go] may be executed in any order, and groups may wait for each other's locks. A database that has one writer
// keeps one, whatever is set.
//
// On a database of which nothing is known, calls that run at the same time are each by themselves, unless Writers is given.
func Writers(n int) Option {
	return databaseOption(func(l *limits) error {
		if n < 1 || n > 1000 {
			return badOption("Writers", strconv.Itoa(n), fewWriters)
		}
		l.writers = n
		return nil
	})
}

// LockTimeout bounds how long calls may keep their group waiting for locks of other transactions, in sum. The bound is what
// the library expects the group to take, and as much again, but never more than d. If a group takes longer, the library asks
// the server by another connection to cancel the statement that waits. That call runs alone, on its own connection, while
// the others commit. The library sets nothing on the server for it. 0 means no bound but the session's own, no such
// connection and no cancel; the default is 200 ms. Only PostgreSQL uses it.
func LockTimeout(d time.Duration) Option {
	return databaseOption(func(l *limits) error {
		if d < 0 || d > 24*time.Hour {
			return badOption("LockTimeout", d.String(), "a duration from 0 to 24h, such as 200ms")
		}
		l.lockWait = d
		return nil
	})
}

// MaxTime bounds how long a group may take on the server. When the time is over, the library gives its connection up, and
// asks the database what became of the group. More than 0; the default is a minute. SQLite does not use it, because a
// statement there cannot be left alone.
func MaxTime(d time.Duration) SharedOption {
	return sharedOption(func(l *limits) error {
		if d <= 0 {
			return badOption("MaxTime", d.String(), "a duration of more than 0, such as 1m")
		}
		l.maxTime = d
		return nil
	})
}

// Mode sets how groups are committed, where there is a choice: [Transaction], [Autocommit], or, by default, [Automatic].
func Mode(m GroupMode) Option {
	return databaseOption(func(l *limits) error {
		if m > Autocommit {
			return badOption("Mode", m.String(), engine.Modes)
		}
		l.mode = m
		return nil
	})
}

// Sync sets when a commit is durable, on SQLite in WAL mode with synchronous=FULL: [SyncShared], the default, [SyncAlone] or
// [SyncFull].
func Sync(m SyncMode) Option {
	return databaseOption(func(l *limits) error {
		if m > SyncFull {
			return badOption("Sync", m.String(), engine.SyncModes)
		}
		l.sync = m
		return nil
	})
}

// ManyRows says whether calls of one plain INSERT, whose values are parameters and literals, may be sent as statements of many rows, which
// is the default. A large group is so cheaper for the server, and its answers are those of single statements. A server's own log and
// statistics show such statements in the place of single ones. With ManyRows(false) each call is a statement. Only PostgreSQL uses
// it. In a data source name: groupcommit_manyrows=on, or off.
func ManyRows(on bool) Option {
	return databaseOption(func(l *limits) error {
		l.manyRows = on
		return nil
	})
}

// DurableReads has a query outside of a transaction wait, before its first row, until what it may have read is durable: see
// [SyncShared]. While others write, each query then costs a sync. Without it a query reads what is committed.
func DurableReads() Option { return durableReads(true) }

func durableReads(on bool) Option {
	return databaseOption(func(l *limits) error {
		l.durableReads = on
		return nil
	})
}

// Promises lets calls have ids, by [WithID]: the database keeps a ledger of such calls. Within the retention window and on
// one database, a statement with an id takes effect at most once, together with its recorded outcome. A caller that retries
// with the same id until it gets an answer gets that one outcome.
//
// The ledger is the table groupcommit_promises, which the first use makes if it is missing. If the program's role may not,
// package durable has the statements. A result is recorded, and so is an error that would come again: a violated constraint,
// a value that does not fit. An error that may go away is not recorded (a missing table, a right, a lock, a lost
// connection): the call may be made again.
//
// A group without ids pays nothing. On PostgreSQL a single id adds two round trips to its whole group, and up to
// [LockTimeout] while another program is claiming the same id.
//
// The records are for the library to delete. If a program deletes rows of the table by its own statement (rather than by
// durable.DeleteOlder), their ids are free at once. On PostgreSQL, the ids of calls that are committed in the same group are
// then free, too, wherever they stand in it, as if the statement had come a moment later. The library does not notice that.
//
// SQLite and PostgreSQL; elsewhere it is an error when the database is first used. In a data source name:
// groupcommit_promises=on, or off.
func Promises() Option { return promises(true) }

func promises(on bool) Option {
	return databaseOption(func(l *limits) error {
		l.promises = on
		return nil
	})
}

// Retention is how long a promise is kept after its completion. Its id may then be used again, and is executed again. The
// default is 24 hours; 0 keeps promises for ever. Every process that has the database open with [Promises] deletes what is
// older, beside the groups, at most 1,000 in a transaction. Ages are by the database's own clock: on SQLite the machine's,
// which its processes share; on PostgreSQL the server's, where a completion may be dated by up to half a second before its
// COMMIT. If processes have different settings, the shortest counts.
//
// A promise is never deleted before its time, and as a rule within a quarter of d afterwards: there is no index by age, and
// so each process reads the whole table once in a quarter of d, a small piece at a time and in even steps. It takes longer where
// the reading does, most of which is rests, some ten seconds for a million promises. A row that was moved meanwhile, or that
// somebody had locked, is deleted in the next quarter. The first time begins a minute, or a quarter of d, after the first use of
// the database, and has the shortest rests.
//
// It counts for every completed promise in the table, also for those that were made through a durable.Store. If the
// program's role may not DELETE there, or something of the program's refers to the rows, the table grows and no error says so.
func Retention(d time.Duration) Option {
	return databaseOption(func(l *limits) error {
		if d < 0 {
			return badOption("Retention", d.String(), "a duration of 0 or more, such as 24h")
		}
		l.keep = d
		return nil
	})
}

// Physical bounds the number of physical connections, those of groups among them. At least 1; without the option, there may be as
// many as the program's own pool has connections open, and never more; [Open] sets 32. It is for a program with more goroutines that
// write than the server has room for: its pool can then have a connection for each of them, without I/O, over few physical
// ones.
//
// If all are in use, a call waits for one under its context. Groups come first, but no two of them in a row while another
// call waits. Calls that were taken out of a group, because they wait for a lock, say, leave a quarter of the connections
// and one more to the others, if there are so many. With fewer connections than [Writers], groups use those that there are. With 1, all
// that the program does is done one after the other: a transaction holds the only connection until it ends, and a goroutine
// that waits for a second one meanwhile waits for ever, as with SetMaxOpenConns(1) on the plain driver. A group waits no
// longer than [MaxTime].
//
// A pooled connection whose session was changed keeps its physical one. If too few are left for the others, that of one which
// is idle in the program's pool is closed, and its session is over. The library must see when it is idle: behind a wrapper
// that hides driver.Validator (sqlhooks, instrumentedsql), SetMaxIdleConns must be less than n.
func Physical(n int) Option {
	return databaseOption(positive("Physical", n, func(l *limits) { l.physical = n }))
}

// WithEngine sets the engine. By default the type of the physical connection decides it.
func WithEngine(e Engine) Option {
	return databaseOption(func(l *limits) error {
		if e == nil {
			return badOption("WithEngine", "nil", "an Engine")
		}
		l.engine = e
		return nil
	})
}

const (
	wholeNumber = "a whole number from 1 to 2147483647"
	fewWriters  = "a whole number from 1 to 1000"
)

func positive(name string, n int, set func(*limits)) func(*limits) error {
	return func(l *limits) error {
		if n < 1 || n > math.MaxInt32 {
			return badOption(name, strconv.Itoa(n), wholeNumber)
		}
		set(l)
		return nil
	}
}

// badOption is the error of an option. name is the name that the program has written.
func badOption(name, value, allowed string) error {
	return &engine.OptionError{Name: name, Value: value, Allowed: allowed}
}

// fromDSN is an option from a data source name. Its errors, and later ones of the engine, call it by that spelling.
func fromDSN(name string, o Option) Option {
	return databaseOption(func(l *limits) error {
		err := o.setDatabase(l)
		if bad, ok := errors.AsType[*engine.OptionError](err); ok {
			return badOption(prefix+name, bad.Value, bad.Allowed)
		}
		l.inDSN = append(slices.Clip(l.inDSN), name)
		return err
	})
}

// spelled returns the program's spelling of an option that is called name in code.
func (l *limits) spelled(name string) string {
	if low := strings.ToLower(name); slices.Contains(l.inDSN, low) {
		return prefix + low
	}
	return name
}

func (l limits) with(opts []Option) (limits, error) {
	for i, o := range opts {
		if o == nil {
			return l, noOption(i, len(opts))
		}
		if err := o.setDatabase(&l); err != nil {
			return l, err
		}
	}
	return l, nil
}

func noOption(i, n int) error { return fmt.Errorf("groupcommit: option %d of %d is nil", i+1, n) }

// dsnOptions are the names that parseOption knows.
var dsnOptions = []string{
	prefix + "maxlen", prefix + "maxbytes", prefix + "maxqueue", prefix + "maxdelay", prefix + "writers",
	prefix + "locktimeout", prefix + "maxtime", prefix + "mode", prefix + "sync", prefix + "reads", prefix + "retry", prefix + "promises", prefix + "retention",
	prefix + "physical", prefix + "manyrows",
}

// parseOption makes an option of a name without its prefix and a value, as they stand in a data source name.
func parseOption(name, value string) (Option, error) {
	o, err := parseValue(name, value)
	if err != nil {
		return nil, err
	}
	return fromDSN(name, o), nil
}

func parseValue(name, value string) (Option, error) {
	switch name {
	case "maxlen":
		return parseNumber(name, value, MaxLen, wholeNumber)
	case "maxbytes":
		return parseNumber(name, value, MaxBytes, wholeNumber)
	case "maxqueue":
		return parseNumber(name, value, MaxQueue, wholeNumber)
	case "writers":
		return parseNumber(name, value, Writers, fewWriters)
	case "physical":
		return parseNumber(name, value, Physical, wholeNumber)
	case "maxdelay":
		return parseDuration(name, value, MaxDelay)
	case "locktimeout":
		return parseDuration(name, value, LockTimeout)
	case "maxtime":
		return parseDuration(name, value, MaxTime)
	case "retention":
		return parseDuration(name, value, Retention)
	case "promises":
		if value != "on" && value != "off" {
			return nil, badOption(prefix+name, value, "on or off")
		}
		return promises(value == "on"), nil
	case "manyrows":
		if value != "on" && value != "off" {
			return nil, badOption(prefix+name, value, "on or off")
		}
		return ManyRows(value == "on"), nil
	case "retry":
		p, err := parseRetry(value)
		return Retry(p), err
	case "mode":
		for _, m := range []GroupMode{Automatic, Transaction, Autocommit} {
			if value == m.String() {
				return Mode(m), nil
			}
		}
		return nil, badOption(prefix+name, value, engine.Modes)
	case "reads":
		if value != "durable" && value != "committed" {
			return nil, badOption(prefix+name, value, "durable or committed")
		}
		return durableReads(value == "durable"), nil
	case "sync":
		for _, m := range []SyncMode{SyncShared, SyncAlone, SyncFull} {
			if value == m.String() {
				return Sync(m), nil
			}
		}
		return nil, badOption(prefix+name, value, engine.SyncModes)
	}
	return nil, fmt.Errorf("groupcommit: unknown option %s=%q in the data source name; allowed are %s", prefix+name, value, strings.Join(dsnOptions, ", "))
}

func parseNumber[O Option](name, value string, option func(int) O, allowed string) (Option, error) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return nil, badOption(prefix+name, value, allowed)
	}
	return option(n), nil
}

func parseDuration[O Option](name, value string, option func(time.Duration) O) (Option, error) {
	d, err := time.ParseDuration(value)
	if err != nil {
		return nil, badOption(prefix+name, value, "a duration, such as 2ms")
	}
	return option(d), nil
}
