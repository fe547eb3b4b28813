// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const (
	// crashRounds is how often the process is killed, crashClients how many
	// clients submit meanwhile.
	crashRounds  = 20
	crashClients = 30
	// maxPerRound bounds what one round submits, so that the queue of all
	// rounds drains soon; minPerRound is what it must, on average, to tell
	// anything. Rounds that wait for mail wait for minBefore, so that these
	// alone make the average also where the machine is slow.
	maxPerRound = 300
	minPerRound = 5
	minBefore   = 4 * minPerRound
	// maxBody and maxLargeBody bound the bodies: most are kept beside their
	// rows, some in files of their own.
	maxBody      = 2_000
	maxLargeBody = 100_000
	// slowness is how long the fickle far end keeps a mail waiting at times.
	slowness = 50 * time.Millisecond
	// maxLife is how long a process lives at most before it is killed.
	maxLife = 700 * time.Millisecond
	// crashConcurrency is the concurrency of each of the two lanes, and
	// maxUncommitted how many outcomes of attempts may wait for their commit.
	// What is under way or waits is sent once more after a crash.
	crashConcurrency = 10
	maxUncommitted   = 2 * 64
	maxResent        = 2*crashConcurrency + maxUncommitted
)

const crashConfig = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing fickle {
			from_filter fickle@mycompany.com
			via smtp %s {
				tls off
			}
		}
		outgoing steady {
			via smtp %s {
				tls off
			}
		}
		queue {
			retry 100ms 200ms 400ms
			concurrency %d
		}
		smtp %s
	}
}
`

// crash is a gateway under fire, and what its clients know.
type crash struct {
	t    *testing.T
	gw   *gateway
	door string
	rand *rand.Rand

	next   atomic.Int64
	mu     sync.Mutex
	acked  map[string]bool // got 250
	unsure map[string]bool // the connection broke before the answer
	denied map[string]bool // got a 4xx or 5xx
}

// TestCrash kills the process at random moments while clients submit and the
// queue drains, and starts it again on the same store. In the end every mail
// that got 250 has been delivered and stands in the ledger once.
func TestCrash(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MAILCADDY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the seed is %d; run it again with MAILCADDY_SEED=%d", seed, seed)

	steady := new(mailflowtest.Relay)
	fickle := &mailflowtest.Relay{Script: fickleScript(seed)}
	c := &crash{
		t: t, door: freeAddress(t), rand: rand.New(rand.NewPCG(seed, 0)),
		acked: make(map[string]bool), unsure: make(map[string]bool), denied: make(map[string]bool),
	}
	c.gw = newGateway(t, fmt.Sprintf(crashConfig, fickle.Start(t), steady.Start(t), crashConcurrency, c.door))
	for range crashRounds {
		c.round()
	}

	c.gw.start()
	c.gw.awaitReady()
	await(t, "the queue is empty", func() bool { return c.gw.open() == 0 })
	ledger := c.gw.all()
	c.check(append(fickle.Messages(), steady.Messages()...), ledger)
	c.gw.stop()
	checkIntegrity(t, filepath.Join(c.gw.dir, "data"))
	checkFiles(t, filepath.Join(c.gw.dir, "data", "spool"), ledger)
}

// fickleScript is the script of a far end that is slow at times, refuses for
// the moment, closes connections, and loses its answers.
func fickleScript(seed uint64) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		mu.Lock()
		defer mu.Unlock()
		dice := rng.IntN(1000)
		switch {
		case e.Stage == mailflowtest.RelayGreeting && dice < 50:
			return mailflowtest.RelaySayClose("421 4.3.2 not now")
		case e.Stage == mailflowtest.RelayMail && dice < 20:
			return mailflowtest.RelayCut()
		case e.Stage == mailflowtest.RelayRcpt && dice < 50:
			return mailflowtest.RelaySay("451 4.7.1 greylisted")
		case e.Stage == mailflowtest.RelayFinal && dice < 30:
			return mailflowtest.RelaySay("452 4.3.1 no room")
		case e.Stage == mailflowtest.RelayFinal && dice < 40:
			return mailflowtest.RelayCut()
		case e.Stage == mailflowtest.RelayContent && dice < 50:
			return func(*mailflowtest.RelaySession) { time.Sleep(slowness) }
		}
		return nil
	}
}

// round starts the process, has clients submit, and kills it: in one round of
// five while it starts, in another while the first mail comes in, else when
// some mail is on its way.
func (c *crash) round() {
	c.gw.start()
	moment := c.rand.IntN(5)
	if moment == 0 {
		time.Sleep(c.life())
		c.gw.kill()
		return
	}
	await(c.t, "the door is open", func() bool { return listens(c.door) })
	before := c.count()
	var clients sync.WaitGroup
	var submitted atomic.Int64
	for range crashClients {
		seed := c.rand.Uint64()
		clients.Go(func() { c.submit(rand.New(rand.NewPCG(seed, 0)), &submitted) })
	}
	if moment > 1 {
		await(c.t, "mail is taken", func() bool { return c.count() >= before+minBefore })
	}
	time.Sleep(c.life())
	c.gw.kill()
	clients.Wait()
}

// count returns how many mails got 250.
func (c *crash) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// life is how long the process lives on.
func (c *crash) life() time.Duration { return time.Duration(c.rand.Int64N(int64(maxLife))) }

// submit is one client: it sends until its connection breaks.
func (c *crash) submit(rng *rand.Rand, submitted *atomic.Int64) {
	s, err := dial(c.door)
	if err != nil {
		return
	}
	defer s.close()
	for submitted.Add(1) <= maxPerRound {
		token := "crash-" + strconv.FormatInt(c.next.Add(1), 10)
		from := "steady@mycompany.com"
		if rng.IntN(3) == 0 {
			from = "fickle@mycompany.com"
		}
		size := rng.IntN(maxBody)
		if rng.IntN(20) == 0 {
			size = rng.IntN(maxLargeBody)
		}
		a, err := s.send(submission{
			from: from, to: token + "@example.net",
			content: "Message-Id: <" + token + "@client.example>\r\nSubject: " + token + "\r\n\r\n" +
				strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100),
		})
		c.note(token, a, err)
		if err != nil || a.code != 250 {
			return
		}
	}
	_, _ = s.read() // until the process is killed
}

func (c *crash) note(token string, a answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.unsure[token] = true
	case a.code == 250:
		c.acked[token] = true
	default:
		c.denied[token] = true
		c.t.Errorf("%s was answered %v", token, a)
	}
}

// check compares what was acknowledged with what the far ends and the ledger
// have.
func (c *crash) check(delivered []mailflowtest.RelayMessage, all []delivery) {
	times := make(map[string]int) // how often each came
	for _, m := range delivered {
		_, rest, _ := strings.Cut(string(m.Content), "\r\nSubject: ")
		token, _, _ := strings.Cut(rest, "\r\n")
		if times[token]++; token == "" {
			c.t.Errorf("a mail came that is none of those sent: MAIL %s, RCPT %q, %q", m.Mail, m.Rcpt, m.Content)
		}
	}
	ledger := make(map[string][]delivery)
	for _, d := range all {
		ledger[d.Subject] = append(ledger[d.Subject], d)
	}
	for token := range c.acked {
		if times[token] == 0 {
			c.t.Errorf("%s got 250 and was never delivered; the ledger has %+v", token, ledger[token])
		}
		if len(ledger[token]) == 0 {
			c.t.Errorf("%s got 250 and is not in the ledger", token)
		}
	}
	for token, rows := range ledger {
		if len(rows) > 1 {
			c.t.Errorf("%s is in the ledger %d times: %+v", token, len(rows), rows)
		}
		for _, d := range rows {
			if d.State != "sent" {
				c.t.Errorf("%s is %s (%s %s), want sent", token, d.State, d.Reason, d.Reply)
			}
		}
		if c.denied[token] {
			c.t.Errorf("%s was refused and is in the ledger", token)
		}
	}
	resent := 0
	for token, n := range times {
		resent += n - 1
		if !c.acked[token] && !c.unsure[token] {
			c.t.Errorf("%q was delivered and nobody sent it", token)
		}
	}
	if most := crashRounds * maxResent; resent > most {
		c.t.Errorf("%d mails were sent more than once, want at most %d", resent, most)
	}
	kept := 0
	for token := range c.unsure {
		kept += min(1, len(ledger[token]))
	}
	if len(c.acked) < crashRounds*minPerRound {
		c.t.Errorf("only %d mails got 250: the rounds are too short to tell anything", len(c.acked))
	}
	c.t.Logf("%d rounds: %d mails got 250, %d no answer (%d of them kept), %d came twice",
		crashRounds, len(c.acked), len(c.unsure), kept, resent)
}

// all returns every delivery in the ledger, read in pages.
func (g *gateway) all() []delivery {
	g.t.Helper()
	const page = 1000
	var all []delivery
	for {
		query := url.Values{"limit": {strconv.Itoa(page)}}
		if len(all) > 0 {
			query.Set("before", all[len(all)-1].ID)
		}
		var rows []delivery
		g.get("/mail/queue?"+query.Encode(), &rows)
		all = append(all, rows...)
		if len(rows) < page {
			return all
		}
	}
}

// checkIntegrity has SQLite check every database below dir.
func checkIntegrity(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database in %s: %v", dir, err)
	}
	for _, file := range files {
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		var verdict string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("integrity of %s: %s %v", file, verdict, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// checkFiles reports files below dir that no large message needs, and large
// messages that have none.
func checkFiles(t *testing.T, dir string, ledger []delivery) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	large := 0
	for _, d := range ledger {
		if d.Bytes > mailflow.MaxInlineBody {
			large++
		}
	}
	if len(files) != large {
		t.Errorf("%d files are left for %d large messages", len(files), large)
	}
	t.Logf("%d large messages are in files", large)
}
