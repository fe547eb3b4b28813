// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// The environment of a child process: what it does, where, and a prefix for
// its IDs.
const (
	childEnv  = "SQLSTORE_TEST_CHILD"
	dirEnv    = "SQLSTORE_TEST_DIR"
	prefixEnv = "SQLSTORE_TEST_PREFIX"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "open":
		s, err := Open(context.Background(), Options{Dir: os.Getenv(dirEnv), Now: time.Now})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_ = s.Close()
		os.Exit(0)
	case "crash":
		crashChild(os.Getenv(dirEnv), os.Getenv(prefixEnv))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child returns a command that runs this test binary as a child.
func child(t *testing.T, what, dir, prefix string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, dirEnv+"="+dir, prefixEnv+"="+prefix)
	return cmd
}

// crashContent returns what the child commits under id: every fifth is large.
func crashContent(id string) []byte {
	if strings.HasSuffix(id, "0") || strings.HasSuffix(id, "5") {
		return large(id)
	}
	return []byte("Subject: " + id + "\r\n\r\nbody\r\n")
}

// crashChild commits and finishes messages until it is killed. It prints a
// line for each after it was acknowledged.
func crashChild(dir, prefix string) {
	ctx := context.Background()
	s, err := Open(ctx, Options{Dir: dir, Now: time.Now})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var wg sync.WaitGroup
	for g := range 10 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%sg%dn%d", prefix, g, i)
				if err := crashCycle(ctx, s, id, i%2 == 0); err != nil {
					fmt.Println("error", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func crashCycle(ctx context.Context, s *Store, id string, send bool) error {
	d, err := decide(ctx, s, id, crashContent(id))
	if err != nil {
		return err
	}
	defer d.Spool.Discard()
	d.Claimed = []string{d.Deliveries[0].ID}
	d.Facts = []mailflow.Fact{{Kind: mailflow.FactAbsent, Key: id}}
	d.Threads = []mailflow.Thread{{ID: "t" + id, Model: "ticket", Foreign: id, Name: id, State: mailflow.ThreadOpen}}
	d.Posts = []mailflow.Post{{ID: "p" + id, Thread: "t" + id, Message: id, MessageID: "<" + id + ">"}}
	if err := s.Commit(ctx, d); err != nil {
		return err
	}
	fmt.Println("kept", id)
	if !send {
		return nil
	}
	d.Deliveries[0].State = mailflow.StateSent
	if err := s.Finish(ctx, &mailflow.Outcome{Deliveries: d.Deliveries}); err != nil {
		return err
	}
	fmt.Println("sent", id)
	return nil
}

// TestCrash kills a process that commits, some times over on one directory,
// and holds that everything it acknowledged is there.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept, sent := make(map[string]bool), make(map[string]bool)
	for round := range 4 {
		crash(t, dir, fmt.Sprintf("r%d", round), func(word, id string) {
			switch word {
			case "kept":
				kept[id] = true
			case "sent":
				sent[id] = true
			default:
				t.Errorf("child: %s %s", word, id)
			}
		})
		s := start(t, Options{Dir: dir})
		integrity(t, s)
		for id := range kept {
			if err := checkBody(t.Context(), s, id, crashContent(id)); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
			if v, err := s.Version(t.Context(), id); err != nil || v == 0 {
				t.Errorf("round %d: the record of %s is lost: %v", round, id, err)
			}
			if posts, err := s.Posts(t.Context(), []string{"<" + id + ">"}, 2); err != nil || len(posts) != 1 || posts[0].Message != id {
				t.Errorf("round %d: the post of %s is %v, %v", round, id, posts, err)
			}
		}
		wholeThreads(t, s)
		list, err := s.Deliveries(t.Context(), mailflow.QueueQuery{Limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		large := 0
		for _, q := range list {
			if sent[q.Message] && q.State != mailflow.StateSent {
				t.Errorf("round %d: the outcome of %s is lost", round, q.ID)
			}
			if q.Bytes > mailflow.MaxInlineBody {
				large++
			}
		}
		wantFiles(t, dir, "after the crash and the orphan sweep", large)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(sent) == 0 || len(kept) <= len(sent) {
		t.Errorf("%d kept and %d sent prove nothing", len(kept), len(sent))
	}
}

// wholeThreads checks that each thread has its post, record and message.
func wholeThreads(t *testing.T, s *Store) {
	t.Helper()
	threads, err := s.Threads(t.Context(), mailflow.ThreadQuery{Limit: 1 << 20})
	if err != nil || len(threads) == 0 {
		t.Errorf("%d threads, %v", len(threads), err)
	}
	for _, th := range threads {
		posts, err := s.PostsOf(t.Context(), th.ID)
		if err != nil || len(posts) != 1 {
			t.Errorf("thread %s has %d posts, %v", th.ID, len(posts), err)
			continue
		}
		if _, err := s.Message(t.Context(), posts[0].Message); err != nil {
			t.Errorf("thread %s: %v", th.ID, err)
		}
		if v, err := s.Version(t.Context(), mailflow.ThreadKey(th.ID)); err != nil || v != 1 {
			t.Errorf("thread %s has version %d, %v", th.ID, v, err)
		}
	}
}

// crash starts a child and kills it after a random number of lines.
func crash(t *testing.T, dir, prefix string, line func(word, rest string)) {
	t.Helper()
	cmd := child(t, "crash", dir, prefix)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	for left := 20 + rand.IntN(300); ; left-- {
		if left == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		text, err := reader.ReadString('\n')
		if err != nil {
			break // killed; a line without end was not printed
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		line(word, rest)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child was not killed")
	}
}

func TestSecondProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	out, err := child(t, "open", dir, "").CombinedOutput()
	if err == nil {
		t.Fatal("a second process opened the store")
	}
	for _, part := range []string{dir, fmt.Sprintf("process %d", os.Getpid()), "stop it"} {
		if !strings.Contains(string(out), part) {
			t.Errorf("the error does not name %q: %s", part, out)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "open", dir, "").CombinedOutput(); err != nil {
		t.Errorf("opening after the first has closed: %v: %s", err, out)
	}
}
