// Command outbox places orders and sends an e-mail about each: both, or neither. The handler of the orders inserts them, and
// adds the e-mails in the same transaction. Each e-mail is a durable command, so that it will be sent, whatever happens to
// the program.
//
// The program starts itself as a worker that places 1,000 orders, kills it half-way, and starts it anew with the same
// orders. Afterwards every order is there once, and every e-mail is recorded as sent once.
//
//	go run ./examples/outbox
package main

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	"golang.org/x/sync/errgroup"
)

const (
	orders  = 1_000
	callers = 20
	// workerEnv tells a process that it is a worker, and its database.
	workerEnv = "GROUPCOMMIT_EXAMPLE_WORKER"
)

// PlaceOrder is a command that its caller waits for: it is answered when the order and its e-mail are in the database.
type PlaceOrder struct {
	Number  int
	Address string
}

// SendMail is a command that no caller waits for.
type SendMail struct {
	Order   int
	Address string
}

// sendMail sends one e-mail, as far as this program does: it prints it, and records it.
//
// The record is made exactly once, because it is in the transaction that settles the command. The printing is not: if the
// program dies between the printing and the commit, the process that takes over prints the e-mail again. A real mail server,
// which no transaction holds, would also get every e-mail at least once. It should get the command's id as the Message-ID,
// which tells doubles. It would also take its time, and no other transaction could write to this database meanwhile.
func sendMail(ctx context.Context, tx *sql.Tx, m SendMail) (none struct{}, err error) {
	fmt.Println("mail", m.Order, m.Address)
	_, err = tx.ExecContext(ctx, "INSERT INTO sent (number, address) VALUES (?, ?)", m.Order, m.Address)
	return none, err
}

// work places all orders and sends all e-mails, whether some have been before or not. Any number of workers may run.
func work(ctx context.Context, dsn string) error {
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		return err
	}
	defer db.Close()

	// Some e-mails may be leased to a worker that has died. After a lease of one second they are taken over; 10 seconds,
	// the default, would be long to watch. No more than MaxLen are printed without being recorded.
	mails, err := groupcommit.Handle(db, groupcommit.Each(sendMail),
		groupcommit.Durable(), groupcommit.Lease(time.Second), groupcommit.MaxLen(50))
	if err != nil {
		return err
	}
	place, err := groupcommit.Handle(db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, o PlaceOrder) (none struct{}, err error) {
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (number, address) VALUES (?, ?)", o.Number, o.Address); err != nil {
			return none, err
		}
		return none, mails.Add(ctx, tx, fmt.Sprintf("mail-%d", o.Number), SendMail{Order: o.Number, Address: o.Address})
	}))
	if err != nil {
		return err
	}

	var before atomic.Int64
	all, placing := errgroup.WithContext(ctx)
	all.SetLimit(callers)
	for n := range orders {
		all.Go(func() error {
			p := place.Go(placing, fmt.Sprintf("order-%d", n), PlaceOrder{Number: n, Address: fmt.Sprintf("customer-%d@example.org", n)})
			if _, err := p.Await(placing); err != nil {
				return fmt.Errorf("order %d: %w", n, err)
			}
			if p.Deduplicated() {
				before.Add(1)
			}
			fmt.Println("placed", n)
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	// The e-mails, also those of the worker before, are under way since Handle. This waits for the last one.
	if err := mails.Recover(ctx); err != nil {
		return err
	}
	fmt.Printf("all are placed; %d had been before\n", before.Load())
	return nil
}

// run tells the story.
func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dsn := filepath.Join(dir, "orders.db") + "?_journal=WAL&_synchronous=FULL&groupcommit_promises=on"
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, table := range []string{"orders", "sent"} { // no constraint forbids a second one of the same number
		if _, err := db.ExecContext(ctx, "CREATE TABLE "+table+" (number INTEGER, address TEXT)"); err != nil {
			return err
		}
	}

	first, err := worker(dsn, orders/2)
	if err != nil {
		return err
	}
	left, err := count(ctx, db)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The first worker was killed when it had said that %d orders are placed. It leaves\n  %v.\n", first.placed, left)

	second, err := worker(dsn, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The second one was given the same %d orders: %s.\n", orders, second.last)

	end, err := count(ctx, db)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "In the end:\n  %v.\nThat an e-mail goes out was printed %d times: the printing is not in the transaction.\n", end, first.mails+second.mails)
	if want := (counts{orders: orders, sent: orders}); end != want {
		return fmt.Errorf("in the database: %v; expected: %v", end, want)
	}
	return nil
}

// counts counts the rows in the database.
type counts struct{ orders, orderDoubles, sent, sentDoubles, pending int }

func (c counts) String() string {
	return fmt.Sprintf("%d orders, %d of them doubles; %d e-mails sent, %d of them doubles; %d e-mails pending",
		c.orders, c.orderDoubles, c.sent, c.sentDoubles, c.pending)
}

func count(ctx context.Context, db *sql.DB) (c counts, err error) {
	err = db.QueryRowContext(ctx, `SELECT o.n, o.n - o.numbers, s.n, s.n - s.numbers
		FROM (SELECT count(*) AS n, count(DISTINCT number) AS numbers FROM orders) AS o,
			(SELECT count(*) AS n, count(DISTINCT number) AS numbers FROM sent) AS s`).
		Scan(&c.orders, &c.orderDoubles, &c.sent, &c.sentDoubles)
	if err != nil {
		return c, err
	}
	promises, err := durable.NewSQL(ctx, db)
	if err != nil {
		return c, err
	}
	query := durable.Query{ID: "mail-*", States: []durable.State{durable.Pending}}
	for {
		page, err := promises.Search(ctx, query)
		if err != nil {
			return c, err
		}
		c.pending += len(page.Promises)
		if page.Cursor == "" {
			return c, nil
		}
		query.Cursor = page.Cursor
	}
}

// said is the output of a worker.
type said struct {
	placed, mails int
	last          string // line
}

// worker runs a worker, and kills it when it has placed killAfter orders, unless that is 0.
func worker(dsn string, killAfter int) (s said, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerEnv+"="+dsn)
	cmd.Stderr = os.Stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := cmd.Start(); err != nil {
		return s, err
	}
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		s.last = scan.Text()
		switch {
		case strings.HasPrefix(s.last, "mail "):
			s.mails++
		case strings.HasPrefix(s.last, "placed "):
			if s.placed++; s.placed == killAfter {
				cmd.Process.Kill()
			}
		}
	}
	err = cmd.Wait()
	if killAfter > 0 && s.placed >= killAfter { // it was killed, which is an error
		err = nil
	}
	return s, err
}

// start runs the story or, in a worker, the work.
func start(out io.Writer) error {
	if dsn := os.Getenv(workerEnv); dsn != "" {
		return work(context.Background(), dsn)
	}
	return run(context.Background(), out)
}

func main() {
	if err := start(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
