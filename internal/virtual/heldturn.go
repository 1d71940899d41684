package virtual

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/internal/turn"
)

// A heldTurn is a Conn's use of the writer's turn.
type heldTurn struct {
	turn *turn.Turn // made when it is first needed, or lent
	has  bool       // Conn has it, or had it until it was overtaken

	enough <-chan struct{} // ends the wait for one that is tentative; nil for another
}

// take waits for the turn; see TakeTurn of Base.
func (h *heldTurn) take(ctx context.Context, b *Base, enough <-chan struct{}) error {
	h.ensure()
	h.enough = enough
	err := b.TakeTurn(ctx, h.turn, enough, time.Now())
	h.has = err == nil // with enough perhaps in vain; it is then one that was overtaken
	return err
}

// takeFree takes the turn if no other has it.
func (h *heldTurn) takeFree(w *turn.Writer) {
	h.ensure()
	h.enough = nil
	h.has = w.TakeFree(h.turn)
}

func (h *heldTurn) ensure() {
	if h.turn == nil {
		h.turn = turn.New()
	}
}

// firm makes sure of the turn. False if it is not there, or was lost.
func (h *heldTurn) firm(w *turn.Writer) bool {
	if !h.has || !w.Firm(h.turn) {
		return false
	}
	h.enough = nil
	return true
}

// leave ends the turn, if it is there. Without a turn the database may not be open yet, and b.Writer not written.
func (h *heldTurn) leave(b *Base) {
	if h.has {
		b.Writer.Leave(h.turn)
		h.has = false
	}
}

// takeOver takes the turn that from holds.
func (h *heldTurn) takeOver(w *turn.Writer, from *turn.Turn) {
	h.ensure()
	h.enough = nil
	h.has = w.Pass(from, h.turn)
}

// lend gives it a turn that another has taken, or nil.
func (h *heldTurn) lend(t *turn.Turn) { h.turn, h.has, h.enough = t, t != nil, nil }

// endLoan forgets a turn that was lent, and has been left.
func (h *heldTurn) endLoan() {
	if !h.has {
		h.turn = nil
	}
}
