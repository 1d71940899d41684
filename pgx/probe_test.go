package pgx

import (
	"net"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// pgx leaves a goroutine that reads behind a write that took long.
func TestALookAtAConnectionDoesNotWaitForAGoroutineThatReadsIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	defer server.Close()
	go func() {
		client.Write([]byte{1})
		client.Read(make([]byte, 1))
	}()
	server.Read(make([]byte, 1)) // the other end is about to read
	bounded.Wait(t, "the looks are over", func() {
		for range 10_000 {
			quiet(client)
		}
	})
}
