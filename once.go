package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fingerprint"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// ExecID runs an Exec whose context has an id: in a group as any other call, unless its connection holds a physical one, which
// then is the one to run it on.
func (d *database) ExecID(ctx context.Context, c *virtual.Conn, id string, e virtual.Exec) (driver.Result, error) {
	if err := d.keeps(id); err != nil {
		return nil, err
	}
	if err := c.MayHaveID(ctx, id, e); err != nil {
		return nil, err
	}
	if err := e.Check(d.Traits.Load()); err != nil {
		return nil, err
	}
	print, err := fingerprint.Of(id, e.Text.Query, e.Args)
	if err != nil {
		return nil, err
	}
	since := time.Now()
	patience, busy := d.patience()
	for {
		f, mine, err := d.flights.board(id, print)
		if err != nil {
			return nil, err
		}
		var out engine.Answer
		ok := true
		switch {
		case !mine:
			out, ok = f.share(ctx, since, patience, busy)
		case c.Holds() || virtual.NoBatch(ctx):
			out = d.flyHere(ctx, c, f, e)
		default:
			out = d.fly(ctx, c, f, e)
		}
		if ok {
			return out.Get()
		}
	}
}

// fly has a group execute the call of a new flight.
func (d *database) fly(ctx context.Context, c *virtual.Conn, f *flight, e virtual.Exec) (out engine.Answer) {
	out.Err = engine.ErrUnanswered // what runtime.Goexit leaves
	defer func() { d.flights.land(f, out, ctx) }()
	c.Count()
	out = d.run(ctx, c, e, f)
	return out
}

// flyHere executes the call of a new flight on its connection's own physical one. What comes of that connection, such as the end of
// its session's patience, is no other caller's: others who wait for the flight then try by themselves.
func (d *database) flyHere(ctx context.Context, c *virtual.Conn, f *flight, e virtual.Exec) (out engine.Answer) {
	out.Err = engine.ErrUnanswered
	defer func() {
		f.own = !everybodys(d.Traits.Load(), out.Err)
		d.flights.land(f, out, ctx)
	}()
	call := &call{Call: engine.NewCall(ctx, e.Text.Query, e.Args, e.Prepared)}
	call.Identify(f.id, f.print)
	if err := c.RunHere(ctx, e.Text, &call.Call); err != nil {
		out.Err = err
		return out
	}
	if unknown := (*OutcomeUnknownError)(nil); errors.As(call.Err(), &unknown) { // another connection is to find out
		call.Doubt(unknown.Cause)
		(&lane{database: d}).apart(call)
	}
	out = call.Outcome()
	return out
}

// everybodys reports that whoever comes with the same id is to get the same: a result, or an error that is recorded.
func everybodys(t *engine.Traits, err error) bool {
	if err == nil || t.Final == nil {
		return err == nil
	}
	_, final := t.Final(err)
	return final
}
