// Command promises shows the use of an id. It starts itself as a worker that makes 2,000 payments, kills the worker
// half-way, and starts it anew with the same payments. The second worker does not know which payments the first one has
// made, and need not: a payment that was committed is answered from the ledger, and no payment is made twice.
//
//	go run ./examples/promises
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
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
)

const (
	payments = 2_000
	workers  = 20
	// workerEnv tells a process that it is a worker, and its database.
	workerEnv = "GROUPCOMMIT_EXAMPLE_WORKER"
)

func main() {
	if err := start(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// start runs the story or, in a worker, the work.
func start(out io.Writer) error {
	if dsn := os.Getenv(workerEnv); dsn != "" {
		return work(dsn)
	}
	return run(out)
}

// work makes all payments, whether some have been made before or not.
func work(dsn string) error {
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	var replayed atomic.Int64
	var all sync.WaitGroup
	numbers, failed := make(chan int), make(chan error, workers)
	for range workers {
		all.Go(func() {
			for n := range numbers {
				ctx := groupcommit.WithID(context.Background(), fmt.Sprintf("payment-%d", n))
				res, err := db.ExecContext(ctx, "INSERT INTO payments (number, cents) VALUES (?, ?)", n, 100+n)
				if err != nil {
					failed <- err
					return
				}
				if groupcommit.Deduplicated(res) {
					replayed.Add(1)
				}
				fmt.Println("paid", n)
			}
		})
	}
	for n := range payments {
		select {
		case numbers <- n:
		case err := <-failed:
			return err
		}
	}
	close(numbers)
	all.Wait()
	fmt.Printf("all are paid; %d had been before\n", replayed.Load())
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// run tells the story.
func run(out io.Writer) error {
	dir, err := os.MkdirTemp("", "promises")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dsn := filepath.Join(dir, "payments.db") + "?_journal=WAL&_synchronous=FULL&groupcommit_promises=on"
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE payments (number INTEGER, cents INTEGER)"); err != nil { // nothing here forbids a second one
		return err
	}

	paid, _, err := worker(dsn, payments/2)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The first worker was killed when it had said that %d payments are made.\n", paid)
	_, last, err := worker(dsn, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The second one was given the same %d payments: %s.\n", payments, last)

	var rows, different int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT number) FROM payments").Scan(&rows, &different); err != nil {
		return err
	}
	p, err := groupcommit.Lookup(context.Background(), db, "payment-7")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "There are %d rows, of %d payments. What became of payment-7? %s, %s.\n", rows, different, p.State, p.Value.Data)
	if rows != payments || different != payments {
		return fmt.Errorf("%d rows of %d payments; %d of each expected", rows, different, payments)
	}
	return nil
}

// worker runs a worker and kills it after killAfter payments, unless that is 0. It returns the number of payments, and the
// worker's last line.
func worker(dsn string, killAfter int) (paid int, last string, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, "", err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerEnv+"="+dsn)
	cmd.Stderr = os.Stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return 0, "", err
	}
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		last = scan.Text()
		if strings.HasPrefix(last, "paid ") {
			if paid++; paid == killAfter {
				cmd.Process.Kill()
			}
		}
	}
	err = cmd.Wait()
	if killAfter > 0 { // it was killed, which is an error
		err = nil
	}
	return paid, last, err
}
