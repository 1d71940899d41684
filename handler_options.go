package groupcommit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// handling holds the values of a handler's options. An option that a database has, too, is the database's by default.
type handling struct {
	limits
	kind    string // "": by the command's type
	durable bool
	lease   time.Duration // 0: the default
	timeout time.Duration // 0: never
	codec   Codec
}

const defaultLease = 10 * time.Second

func (h handling) with(opts []HandlerOption) (handling, error) {
	for i, o := range opts {
		if o == nil {
			return h, noOption(i, len(opts))
		}
		if err := o.setHandler(&h); err != nil {
			return h, err
		}
	}
	return h, nil
}

// complete fills in the options that were not given, for commands of a type, and refuses options that exclude each other.
func (h *handling) complete(typ reflect.Type) error {
	if h.kind == "" {
		if h.kind = typ.String(); durable.CheckID(h.kind) != nil {
			return fmt.Errorf("groupcommit: Handle of %.60v…: the type's name cannot be a kind: it is %d bytes long, and a kind is 1 to 255 bytes of UTF-8 without NUL; give it one with Kind", typ, len(h.kind))
		}
	}
	switch {
	case !h.durable && (h.lease != 0 || h.timeout != 0):
		return fmt.Errorf("groupcommit: Handle of %v: options Lease and Timeout are allowed with Durable only", typ)
	case h.durable && !h.promises:
		return fmt.Errorf("groupcommit: Handle of %v: option Durable needs a database that keeps promises; open it with Promises() or %spromises=on", typ, prefix)
	}
	h.lease = cmp.Or(h.lease, defaultLease)
	return nil
}

// A Codec turns the values and the results of commands into bytes and back. A later version of the program must still decode
// what it encodes, for as long as a database keeps promises. The same value must always give the same bytes, because these
// identify a command that comes again with its id. The bytes are copied. Many goroutines call its methods at once.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode decodes data into v, a pointer to a new value.
	Decode(data []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error)    { return json.Marshal(v) }
func (jsonCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// Durable is an option of [Handle]: a command outlives the program. [Commands.Go] returns when the command is recorded as
// PENDING, in a transaction that it shares with other writes of that moment. Any process that handles commands of the kind
// on this database then carries it out, after a crash, too: see [Commands.Recover]. Each command needs an id, and the
// database needs [Promises].
func Durable() HandlerOption {
	return handlerOption(func(h *handling) error {
		h.durable = true
		return nil
	})
}

// Kind is an option of [Handle]: the name that commands of the type have in the database. The default is the type's own
// name, such as main.InsertUser. If a program renames the type, it loses the commands that are recorded under the old name.
// If another program on the same database has a type of the same name, it carries the commands out as its own, or gets their
// results. So programs that share a database should name their kinds. 1 to 255 bytes of UTF-8 without NUL.
func Kind(name string) HandlerOption {
	return handlerOption(func(h *handling) error {
		if durable.CheckID(name) != nil {
			return badOption("Kind", name, "a name of 1 to 255 bytes of UTF-8 without NUL")
		}
		h.kind = name
		return nil
	})
}

// Lease is an option of [Handle] with [Durable]: for how long a process has a recorded command to itself. A process renews
// its leases for as long as it lives. When a process dies, another takes its commands over after the leases have ended. At
// least 100 ms; the default is 10 seconds. Times are by the clocks of the processes, which must differ by far less.
func Lease(d time.Duration) HandlerOption {
	return handlerOption(func(h *handling) error {
		if d < leastLease {
			return badOption("Lease", d.String(), "a duration of at least "+leastLease.String())
		}
		h.lease = d
		return nil
	})
}

const leastLease = 100 * time.Millisecond

// Timeout is an option of [Handle] with [Durable]: a command that no handler has begun with, for that long after it was
// recorded, is REJECTED_TIMEDOUT. A command that is being handled at that time is carried out. 0, the default, is never. If
// a command waits for another attempt, its promise learns of the timeout at its turn.
func Timeout(d time.Duration) HandlerOption {
	return handlerOption(func(h *handling) error {
		if d < 0 {
			return badOption("Timeout", d.String(), "a duration of 0 or more, such as 1h")
		}
		h.timeout = d
		return nil
	})
}

// WithCodec is an option of [Handle]: how values and results are encoded for the database. The default is JSON, by
// encoding/json. Commands without an id are not encoded.
func WithCodec(c Codec) HandlerOption {
	return handlerOption(func(h *handling) error {
		if c == nil {
			return badOption("WithCodec", "nil", "a Codec")
		}
		h.codec = c
		return nil
	})
}
