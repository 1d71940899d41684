package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// inBubble runs a story on a made clock, over a way whose server and client are pipes.
func inBubble(t *testing.T, trip time.Duration, story func(w *way, server, client net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		w := &way{}
		w.far(trip)
		server, inner := net.Pipe()
		client, outer := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.back(outer, inner)
			outer.Close()
		}()
		story(w, server, client)
		server.Close()
		<-done
		w.all.Wait()
	})
}

// say has the server send one byte for each number.
func say(t *testing.T, server net.Conn, from, to int) {
	for i := from; i < to; i++ {
		_, err := server.Write([]byte{byte(i)})
		require.NoError(t, err)
	}
}

// hear reads so many bytes, and says how long it took on the made clock.
func hear(t *testing.T, client net.Conn, n int) (got []byte, took time.Duration) {
	start := time.Now()
	got = make([]byte, n)
	_, err := io.ReadFull(client, got)
	require.NoError(t, err)
	return got, time.Since(start)
}

func TestAHundredAnswersAreHeldBackBesideEachOther(t *testing.T) {
	inBubble(t, 5*time.Millisecond, func(w *way, server, client net.Conn) {
		say(t, server, 0, 100)
		got, took := hear(t, client, 100)
		assert.Equal(t, 5*time.Millisecond, took)
		for i, b := range got {
			assert.EqualValues(t, i, b)
		}
	})
}

func TestAnAnswerThatCameLaterIsDueLater(t *testing.T) {
	inBubble(t, 5*time.Millisecond, func(w *way, server, client net.Conn) {
		say(t, server, 0, 1)
		time.Sleep(2 * time.Millisecond)
		say(t, server, 1, 2)
		_, took := hear(t, client, 1)
		assert.Equal(t, 3*time.Millisecond, took)
		_, took = hear(t, client, 1)
		assert.Equal(t, 2*time.Millisecond, took)
	})
}

func TestTheRoundTripOfAnOpenConnectionChangesAndNothingOvertakes(t *testing.T) {
	inBubble(t, 0, func(w *way, server, client net.Conn) {
		go say(t, server, 0, 1) // a pipe has no room, and nothing is held back
		_, took := hear(t, client, 1)
		assert.Zero(t, took)
		w.far(5 * time.Millisecond)
		say(t, server, 1, 2)
		synctest.Wait() // it is stamped
		w.far(0)
		say(t, server, 2, 3) // in no hurry by itself, and behind one that is held back
		got, took := hear(t, client, 2)
		assert.Equal(t, []byte{1, 2}, got)
		assert.Equal(t, 5*time.Millisecond, took)
		synctest.Wait()
		go say(t, server, 3, 4)
		_, took = hear(t, client, 1)
		assert.Zero(t, took)
	})
}

func TestWhatIsHeldBackArrivesAfterTheServerHasHungUp(t *testing.T) {
	inBubble(t, 5*time.Millisecond, func(w *way, server, client net.Conn) {
		say(t, server, 0, 3)
		server.Close()
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.Equal(t, []byte{0, 1, 2}, got)
	})
}

// echo is a server that answers with what it gets.
func echo(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

func TestManyConnectionsGetTheirOwnBytesWhileTheWayChanges(t *testing.T) {
	w, err := newWay("tcp", echo(t).Addr().String(), 0)
	require.NoError(t, err)
	var all errgroup.Group
	for range 20 {
		all.Go(func() error {
			c, err := net.Dial("tcp", w.address())
			if err != nil {
				return err
			}
			defer c.Close()
			sent := make([]byte, 300<<10)
			rand.Read(sent)
			go func() {
				for part := range slices.Chunk(sent, 7_001) {
					c.Write(part)
				}
				c.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if !bytes.Equal(sent, got) {
				t.Errorf("%d bytes came back of %d, or others", len(got), len(sent))
			}
			return err
		})
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for i := range 20 {
			w.far(time.Duration(i%2) * time.Millisecond)
			time.Sleep(time.Millisecond)
		}
	}()
	require.NoError(t, all.Wait())
	<-changed
	require.NoError(t, w.close())
}

func TestAClosedWayLeavesNothingOpen(t *testing.T) {
	w, err := newWay("tcp", echo(t).Addr().String(), time.Millisecond)
	require.NoError(t, err)
	c, err := net.Dial("tcp", w.address())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, w.close())
	_, err = io.ReadAll(c)
	_ = err // a reset or an end, as the system has it; both are the end of the connection
	_, err = net.Dial("tcp", w.address())
	assert.Error(t, err)
}

func TestAServerThatIsNotThereIsAClosedConnection(t *testing.T) {
	w, err := newWay("tcp", "127.0.0.1:1", 0)
	require.NoError(t, err)
	c, err := net.Dial("tcp", w.address())
	require.NoError(t, err)
	defer c.Close()
	got, _ := io.ReadAll(c)
	assert.Empty(t, got)
	require.NoError(t, w.close())
}
