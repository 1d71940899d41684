package proxy

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one client's connection through the proxy. Two goroutines run it, one for each direction.
type conn struct {
	proxy          *Proxy
	number         int
	client, server net.Conn

	muted atomic.Bool   // the server's messages are lost
	lost  atomic.Bool   // CutAfterForward: one side is closed, the other finishes undisturbed
	key   string        // in a CancelRequest for this connection; guarded by proxy.mu
	gone  chan struct{} // closed when the connection is cut: no delay is waited for any more
	once  sync.Once     // closes gone
}

func (c *conn) run() {
	var both sync.WaitGroup
	both.Go(c.fromClient)
	both.Go(c.fromServer)
	both.Wait()
}

// cut closes both sides.
func (c *conn) cut() {
	c.once.Do(func() { close(c.gone) })
	c.client.Close()
	c.server.Close()
}

func (c *conn) fromClient() {
	r, w := bufio.NewReaderSize(c.client, 64<<10), bufio.NewWriterSize(c.server, 64<<10)
	var buf []byte
	x := newTexts()
	typed := false // the first messages have no type
	for {
		f, err := read(r, typed, &buf)
		if err != nil {
			c.ended(c.server)
			return
		}
		if !typed {
			if code := f.code(); code == sslRequest || code == gssRequest {
				if _, err := c.client.Write([]byte("N")); err != nil {
					c.cut()
					return
				}
				continue
			}
			typed = true // a CancelRequest too: nothing follows it
		}
		m := x.see(f)
		m.Conn = c.number
		if m.Cancel() && c.proxy.isLost(f.body[4:]) {
			c.cut()
			return
		}
		action := c.proxy.decide(&c.proxy.onClient, m)
		if action.kind == mute || action.kind == cutAfterForward {
			c.muted.Store(true) // before the server sees the message: its answer comes too late
		}
		if !c.do(action, f, r, w, c.server, c.client) {
			return
		}
	}
}

func (c *conn) fromServer() {
	r, w := bufio.NewReaderSize(c.server, 64<<10), bufio.NewWriterSize(c.client, 64<<10)
	var buf []byte
	for {
		f, err := read(r, true, &buf)
		if err != nil {
			c.ended(c.client)
			return
		}
		if f.kind == 'K' {
			c.proxy.mu.Lock()
			c.key = string(f.body)
			c.proxy.mu.Unlock()
		}
		if c.muted.Load() {
			w.Flush() // the messages before were to pass
			continue
		}
		action := c.proxy.decide(&c.proxy.onServer, Message{Conn: c.number, Type: f.kind, Payload: f.body})
		if action.kind == mute {
			c.muted.Store(true)
			action.kind = drop
		}
		if !c.do(action, f, r, w, c.client, c.server) {
			return
		}
	}
}

// do carries an action out on a message that came by r from source and goes by w to dest. It returns false when this
// direction has come to its end.
func (c *conn) do(a Action, f frame, r *bufio.Reader, w *bufio.Writer, dest, source net.Conn) bool {
	if a.delay > 0 {
		if w.Flush() != nil || !c.wait(a.delay) {
			c.cut()
			return false
		}
	}
	switch a.kind {
	case cut:
		w.Flush() // the messages before were to pass
		c.cut()
		return false
	case cutAfterForward:
		w.Write(f.raw)
		w.Flush()
		c.lost.Store(true)
		source.Close()
		c.ended(dest)
		return false
	case drop:
	default:
		w.Write(f.raw) // its error comes again with Flush
	}
	if r.Buffered() == 0 {
		if err := w.Flush(); err != nil && !c.lost.Load() {
			c.cut()
			return false
		}
	}
	return true
}

// wait reports false if the connection is cut while it waits.
func (c *conn) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.gone:
		return false
	}
}

// ended tells dest that no more data will come. The connection is not closed yet: dest may still have to read. If dest has
// sent data that is not read, closing the socket would discard the data that dest has yet to read. The other
// direction's goroutine reads on, and ends when dest closes its side.
func (c *conn) ended(dest net.Conn) {
	if half, ok := dest.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		return
	}
	c.cut()
}
