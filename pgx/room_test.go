package pgx

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// What is in the frontend's buffer before and behind a room is sent in its order, whether the room is new, used again, too small, or
// larger than what it is for.
func TestWhatIsSentInARoomIsTheSame(t *testing.T) {
	var with, without bytes.Buffer
	out, plain := pgproto3.NewFrontend(nil, &with), pgproto3.NewFrontend(nil, &without)
	var r room
	for _, size := range []int{10, 3000, 10, 3000, 100_000, 10, roomMost + 1, 3000} {
		for _, n := range []int{1, 40} {
			text := strings.Repeat("x", size)
			call := engine.NewCall(context.Background(), text, nil, false)
			out.SendQuery(&pgproto3.Query{String: "first"})
			plain.SendQuery(&pgproto3.Query{String: "first"})
			r.makeRoom(out, []request{{call: &call}})
			for range n {
				out.SendQuery(&pgproto3.Query{String: text})
				plain.SendQuery(&pgproto3.Query{String: text})
			}
			require.NoError(t, out.Flush())
			require.NoError(t, plain.Flush())
			require.True(t, bytes.Equal(without.Bytes(), with.Bytes()), "%d messages of %d bytes", n, size)
			require.LessOrEqual(t, cap(r.memory), roomMost)
		}
	}
}
