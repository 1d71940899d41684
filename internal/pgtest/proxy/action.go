package proxy

import "time"

// An Action is the treatment of one message.
type Action struct {
	kind  kind
	delay time.Duration
}

type kind int

const (
	pass kind = iota
	drop
	mute
	cut
	cutAfterForward
)

var (
	// Pass forwards the message. It is the zero Action.
	Pass = Action{kind: pass}

	// Drop loses the message and nothing else: the next ones pass.
	Drop = Action{kind: drop}

	// Mute forwards the message, if it is the client's, and loses every message of the server from now on. The
	// connection stays open: the client waits.
	Mute = Action{kind: mute}

	// Cut closes the connection on both sides instead of forwarding the message. The receiver may or may
	// not have seen the messages before.
	Cut = Action{kind: cut}

	// CutAfterForward forwards the message, lets no answer to it through, and cuts the connection. The receiver does
	// get the message and all before it, and acts on it; a server may still be busy with it when the client notices.
	// A CancelRequest for the connection is lost as well: pgx sends one when a connection breaks, and the server would
	// abort the statement that it is still busy with.
	CutAfterForward = Action{kind: cutAfterForward}
)

// Delay forwards the message after d. All that follows in the same direction waits behind it.
func Delay(d time.Duration) Action { return Action{delay: d} }

// After is the action, taken after d.
func (a Action) After(d time.Duration) Action {
	a.delay += d
	return a
}
