package pgx

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A request's arguments are encoded for the types that the server tells, and the formats of its rows are chosen by them. So the
// server describes a text that is new to the connection before the text is executed. That costs a round trip, as on the plain
// driver, and all new texts of a group share it:
//
//	[close…] [ROLLBACK] (parse describe Sync)…
//
// Each text has a transaction of its own, so that the error of one is not the others'. Parsing takes locks, and waits for
// them. Behind a pooler each of these transactions names itself first: there is no other way to know which one to watch.
//
// The next pipeline closes a text that fell out of the cache. No call waits for that.

// descriptions are the server's, by text. nil stands for a text that is still to be described, or that the server refuses.
type descriptions map[string]*pgconn.StatementDescription

// prepare has the server describe the texts of the requests, and of a statement of ours if the connection prepares
// statements; own may be "". It puts off the requests that the server refuses or that cannot be sent: the plain driver gives
// the right error. It returns the others, in the place of requests, and own's description if there is one. An error is the
// connection's.
//
// over watches the waiting for locks; nil: no watch does.
func (s *statements) prepare(ctx context.Context, over *watch, requests []request, own string) (ready []request, described *pgconn.StatementDescription, err error) {
	s.closing, s.dropped = append(s.closing, s.dropped...), s.dropped[:0]
	mode := s.mode
	if mode == pgx.QueryExecModeDescribeExec {
		s.known = lru.New(max(1, len(requests)), s.forget) // the mode is to ask each time
	}
	asks := func(r request) bool { // a prepared text's arguments and rows are encoded by the server's types, in each mode
		return (len(r.call.Args) > 0 || r.call.WantsRows()) && (mode != pgx.QueryExecModeExec || r.call.Prepared)
	}
	var news descriptions
	if own != "" && mode == pgx.QueryExecModeCacheStatement {
		if described, _ = s.known.Get(own); described == nil {
			news = descriptions{own: nil}
		}
	}
	ready = requests[:0]
	for _, r := range requests {
		if !r.sendable() {
			r.call.PutOff()
			continue
		}
		if asks(r) {
			if r.described, _ = s.known.Get(r.query); r.described == nil {
				if news == nil {
					news = make(descriptions)
				}
				news[r.query] = nil
			}
		}
		ready = append(ready, r)
	}
	if len(news) == 0 {
		return ready, described, nil
	}
	if err := s.describe(ctx, over, news); err != nil {
		return nil, nil, err
	}
	if described == nil {
		described = news[own]
	}
	kept := ready[:0]
	for _, r := range ready {
		if asks(r) && r.described == nil {
			if r.described = news[r.query]; r.described == nil {
				r.call.PutOff()
				continue
			}
		}
		kept = append(kept, r)
	}
	return kept, described, nil
}

// describe has the server describe texts. It leaves nil for those that the server refuses. An error is the connection's.
//
// Descriptions are kept up to the capacity of pgx's own cache.
func (s *statements) describe(ctx context.Context, over *watch, texts descriptions) error {
	pooled := false
	if over != nil {
		target := s.wire.itself()
		pooled = target == "" && over.limit > 0
		over.begin(target)
		defer over.end(ctx)
	}
	p := s.wire.pg.PgConn().StartPipeline(ctx)
	before := s.sendRemains(p)
	order := make([]string, 0, len(texts))
	for text := range texts {
		if pooled {
			sendText(p, "SELECT "+thisTransaction)
			p.SendFlushRequest()
		}
		p.SendPrepare(s.name(text), text, nil)
		p.SendPipelineSync()
		order = append(order, text)
	}
	err := p.Flush()
	if err == nil {
		err = s.readRemains(p, before)
	}
	for _, text := range order {
		if err != nil {
			break
		}
		if pooled {
			_, err = over.named(p)
		}
		var sd *pgconn.StatementDescription
		if err == nil {
			sd, err = readDescription(p)
		}
		if err == nil || !endsConnection(err) {
			err = readSync(p)
		}
		if sd != nil {
			sd.Name, sd.SQL = s.name(text), text
			texts[text] = sd
			s.known.Put(text, sd)
		}
		if over != nil {
			over.hear(time.Now())
		}
	}
	return cmp.Or(err, p.Close())
}

// name is the name under which a text is prepared where the mode prepares. It is ours: pgx closes its own when a call fails
// and when a sql.Stmt of the same text is closed.
func (s *statements) name(query string) string {
	if s.mode != pgx.QueryExecModeCacheStatement {
		return ""
	}
	digest := sha256.Sum256([]byte(query))
	return "groupcommit_" + hex.EncodeToString(digest[:24])
}

// forget is called for a statement that fell out of the cache.
func (s *statements) forget(sd *pgconn.StatementDescription) {
	if sd.Name != "" {
		s.dropped = append(s.dropped, sd.Name)
	}
}

// sendRemains sends what earlier transactions have left to do, and returns how many answers will come: the closing of the
// statements that fell out of the cache, and ROLLBACK after a transaction that failed. A text that comes again is parsed behind
// the closing.
func (s *statements) sendRemains(p *pgconn.Pipeline) (answers int) {
	for _, name := range s.closing {
		p.SendDeallocate(name)
	}
	answers = len(s.closing)
	s.closing = s.closing[:0]
	if s.wire.failed {
		sendText(p, "ROLLBACK")
		answers++
	}
	return answers
}

// readRemains reads the answers to what sendRemains has sent.
func (s *statements) readRemains(p *pgconn.Pipeline, answers int) error {
	for range answers {
		if _, _, err := readAnswer(p, false); err != nil {
			return err
		}
	}
	s.wire.failed = false
	return nil
}
