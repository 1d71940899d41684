package pgx

import (
	"github.com/jackc/pgx/v5/pgproto3"
)

// A room is memory for a group on its way into the socket. pgx begins each write with 1 kB, which grows by doubling and is thrown away: some
// 200 bytes a call, which the collector pays for by walking the stacks of all callers. A room is no message: it has the messages behind it
// put into memory that the session uses again.
type room struct{ memory []byte }

var _ pgproto3.FrontendMessage = (*room)(nil)

const (
	roomLeast = 1 << 10 // pgx's own
	roomMost  = 1 << 18 // kept for a connection
	// messages is what the messages of one request take, beside the request's own size: a name of ours, lengths and counts.
	messages = 128
)

// makeRoom has the requests that follow encoded into the session's memory. The frontend has copied it into the socket when Flush returns.
func (r *room) makeRoom(out *pgproto3.Frontend, requests []request) {
	size := roomLeast
	for i := range requests {
		size += messages + requests[i].call.Bytes()
	}
	if size <= roomLeast || size > roomMost {
		return
	}
	if cap(r.memory) < size {
		r.memory = make([]byte, 0, min(2*size, roomMost))
	}
	out.Send(r)
}

// Encode moves what was to be sent so far.
func (r *room) Encode(sent []byte) ([]byte, error) { return append(r.memory[:0], sent...), nil }
func (r *room) Decode([]byte) error                { return nil }
func (r *room) Frontend()                          {}
