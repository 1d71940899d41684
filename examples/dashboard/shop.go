package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"golang.org/x/sync/errgroup"
)

// A shop is what the callers use: customers, orders and stock of a number that does not grow, and e-mails that are durable commands.
type shop struct {
	db    *sql.DB
	mails *groupcommit.Commands[mail, struct{}]
	sent  atomic.Int64
}

const (
	customers = 10_000
	orders    = 100_000
	articles  = 50
)

type mail struct{ Order int }

func openShop(ctx context.Context, db *sql.DB) (*shop, error) {
	for _, text := range []string{
		"CREATE TABLE customers (id INTEGER PRIMARY KEY, address TEXT UNIQUE)",
		"CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, article INTEGER, placed REAL)",
		"CREATE TABLE stock (article INTEGER PRIMARY KEY, pieces INTEGER)",
		"CREATE TABLE mails (orders INTEGER PRIMARY KEY, n INTEGER)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	s := &shop{db: db}
	var err error
	s.mails, err = groupcommit.Handle(db, groupcommit.Each(s.send), groupcommit.Kind("mail"), groupcommit.Durable())
	return s, err
}

// send stands for the sending of an e-mail. Now and then its server is busy, and the batch is tried again.
func (s *shop) send(ctx context.Context, tx *sql.Tx, m mail) (none struct{}, err error) {
	if s.sent.Add(1)%100 == 0 {
		return none, busy
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO mails (orders, n) VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", m.Order)
	return none, err
}

// open lets callers use the shop until ctx ends.
func (s *shop) open(ctx context.Context, callers int) error {
	all, ctx := errgroup.WithContext(ctx)
	for n := range callers {
		all.Go(func() error {
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(rand.N(20 * time.Millisecond)):
				}
				if err := s.use(ctx, fmt.Sprintf("%d-%d", n, i)); err != nil && !expected(ctx, err) {
					return err
				}
			}
		})
	}
	return all.Wait()
}

// expected reports that an error is part of the story: the shop closes, or an address is taken.
func expected(ctx context.Context, err error) bool {
	return ctx.Err() != nil || strings.Contains(err.Error(), "UNIQUE constraint failed")
}

// use does one thing. Most callers place orders, and some do what joins no group.
func (s *shop) use(ctx context.Context, id string) error {
	order, customer, article := rand.N(orders), rand.N(customers), rand.N(articles)
	switch p := rand.N(100); {
	case p < 55:
		return s.exec(ctx, "INSERT INTO orders (id, customer, article, placed) VALUES (?, ?, ?, julianday()) ON CONFLICT DO UPDATE SET placed = excluded.placed", order, customer, article)
	case p < 80:
		return s.exec(ctx, "INSERT INTO stock (article, pieces) VALUES (?, 1) ON CONFLICT DO UPDATE SET pieces = pieces + 1", article)
	case p < 84: // an address that is taken is an error of its caller only
		return s.exec(ctx, "INSERT INTO customers (address) VALUES (?)", fmt.Sprintf("customer-%d@example.org", customer))
	case p < 88:
		var pieces int
		return ignoreNone(s.db.QueryRowContext(ctx, "UPDATE stock SET pieces = pieces - 1 WHERE article = ? RETURNING pieces", article).Scan(&pieces))
	case p < 91: // a call that comes again is answered, and not executed again
		id := fmt.Sprintf("order-%d", order%1000)
		return s.exec(groupcommit.WithID(ctx, id), "UPDATE orders SET article = ? WHERE id = ?", order%articles, order%1000)
	case p < 93:
		_, err := s.mails.Do(ctx, "mail-"+id, mail{order})
		return err
	case p < 98:
		var n int
		return s.db.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE article = ? AND id BETWEEN ? AND ? + 100", article, order, order).Scan(&n)
	default:
		return s.move(ctx, order, article)
	}
}

func (s *shop) exec(ctx context.Context, text string, args ...any) error {
	_, err := s.db.ExecContext(ctx, text, args...)
	return err
}

// move changes an order's article, in a transaction of its own.
func (s *shop) move(ctx context.Context, order, article int) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE orders SET article = ? WHERE id = ?", article, order); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE stock SET pieces = pieces - 1 WHERE article = ?", article); err != nil {
		return err
	}
	return tx.Commit()
}

func ignoreNone(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
