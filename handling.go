package groupcommit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// handling is what only a handler has options for.
type handling struct {
	kind    string // "": by the command's type
	durable bool
	lease   time.Duration // 0: the default
	timeout time.Duration // 0: never
	codec   Codec
}

var defaultHandling = handling{codec: jsonCodec{}}

const defaultLease = 10 * time.Second

// complete fills in what was not given for commands of a type, and refuses what does not go together.
func (h *handling) complete(typ reflect.Type) error {
	if h.kind == "" {
		if h.kind = typ.String(); durable.CheckID(h.kind) != nil {
			return fmt.Errorf("groupcommit: Handle of %.60v…: the type's name is no kind: it is %d bytes long, and a kind is 1 to 255 bytes of UTF-8 without NUL; give it one with Kind", typ, len(h.kind))
		}
	}
	if !h.durable && (h.lease != 0 || h.timeout != 0) {
		return fmt.Errorf("groupcommit: Handle of %v: options Lease and Timeout are allowed with Durable only", typ)
	}
	h.lease = cmp.Or(h.lease, defaultLease)
	return nil
}

// A Codec turns the values and the results of commands into bytes and back. What it encodes must decode for as long as a
// database keeps promises, also by a later version of the program. The same value must always give the same bytes: by
// these a command that comes again with an id is known. They are copied. Its methods are called by many goroutines at once.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode puts what data holds into v, a pointer to a new value.
	Decode(data []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error)    { return json.Marshal(v) }
func (jsonCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// Durable is an option of [Handle]: a command outlives the program. [Commands.Go] returns when the command is recorded as
// PENDING, in a transaction that it shares with whatever else is written at the time; and whoever handles commands of the kind
// on this database, in this process or another, now or after a crash, carries it out: see [Commands.Recover]. Each command
// needs an id, and the database [Promises].
func Durable() Option {
	return forHandler("Durable", func(h *handling) error {
		h.durable = true
		return nil
	})
}

// Kind is an option of [Handle]: the name that commands of the type have in the database. The default is the type's own
// name, such as main.InsertUser: commands that are recorded under it are lost to a program that calls the type something
// else, and another program on the same database whose type has the same name would carry them out as its own, or be answered
// with their results. So programs that share a database should name their kinds. 1 to 255 bytes of UTF-8 without NUL.
func Kind(name string) Option {
	return forHandler("Kind", func(h *handling) error {
		if durable.CheckID(name) != nil {
			return badOption("Kind", name, "a name of 1 to 255 bytes of UTF-8 without NUL")
		}
		h.kind = name
		return nil
	})
}

// Lease is an option of [Handle] with [Durable]: for how long a process has a recorded command to itself. A process that
// lives renews its leases; the commands of one that died are taken over when they end. At least 100 ms; the default is 10
// seconds. Times are by the clocks of the processes, which must differ by far less.
func Lease(d time.Duration) Option {
	return forHandler("Lease", func(h *handling) error {
		if d < leastLease {
			return badOption("Lease", d.String(), "a duration of at least "+leastLease.String())
		}
		h.lease = d
		return nil
	})
}

const leastLease = 100 * time.Millisecond

// Timeout is an option of [Handle] with [Durable]: a command that no handler has begun with by so long after it was recorded is
// REJECTED_TIMEDOUT. One that is being handled then is carried out. 0, the default, is never. The promise of a command that
// waits for another attempt learns of it when its turn comes.
func Timeout(d time.Duration) Option {
	return forHandler("Timeout", func(h *handling) error {
		if d < 0 {
			return badOption("Timeout", d.String(), "a duration of 0 or more, such as 1h")
		}
		h.timeout = d
		return nil
	})
}

// WithCodec is an option of [Handle]: how values and results are encoded for the database. The default is JSON, by
// encoding/json. Commands without an id are not encoded.
func WithCodec(c Codec) Option {
	return forHandler("WithCodec", func(h *handling) error {
		if c == nil {
			return badOption("WithCodec", "nil", "a Codec")
		}
		h.codec = c
		return nil
	})
}

func forHandler(name string, set func(*handling) error) Option {
	return func(l *limits) error {
		if l.handling == nil {
			return fmt.Errorf("groupcommit: option %s is a handler's: it goes to Handle, and not to the database", name)
		}
		return set(l.handling)
	}
}

// forDatabase keeps an option away from Handle.
func forDatabase(name string, o Option) Option {
	return func(l *limits) error {
		if l.handling != nil {
			return fmt.Errorf("groupcommit: option %s is the database's: it goes to Register, NewConnector or the data source name, and not to Handle", name)
		}
		return o(l)
	}
}
