package machines_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// distance carries the packets between regions, each in its time: the machines' routes to
// other regions lead into devices that this process reads. Kernels that are made small
// have nothing of their own for that.
type distance struct {
	ends  map[netip.Addr]*farEnd
	ways  map[[2]string]time.Duration
	cut   atomic.Pointer[string] // the region that is cut off from the others
	work  sync.WaitGroup
	lines sync.WaitGroup
}

// farEnd is one machine's device.
type farEnd struct {
	region string
	device *os.File
	inward chan farPacket
}

type farPacket struct {
	bytes []byte
	due   time.Time
}

// separate puts regions apart, by the time of one way between them.
func (s *stage) separate(ways map[[2]string]time.Duration) *distance {
	s.t.Helper()
	d := &distance{ends: map[netip.Addr]*farEnd{}, ways: map[[2]string]time.Duration{}}
	for pair, way := range ways {
		d.ways[pair], d.ways[[2]string{pair[1], pair[0]}] = way, way
	}
	for _, m := range s.machines {
		device, err := openDevice(s.net.namespace(m.name))
		if err != nil {
			s.t.Skipf("machines far apart: this machine lets us make no network device: %v", err)
		}
		d.ends[netip.MustParseAddr(m.address)] = &farEnd{m.region, device, make(chan farPacket, 1<<14)}
		s.net.ip(m.name, "link", "set", farDevice, "up")
		for _, region := range s.regions {
			if region != m.region {
				s.net.ip(m.name, "route", "add", s.layout.network(region), "dev", farDevice, "src", m.address)
			}
		}
	}
	for _, end := range d.ends {
		d.work.Go(func() { d.carry(end) })
		d.lines.Go(end.deliver)
	}
	s.t.Cleanup(func() {
		for _, end := range d.ends {
			_ = end.device.Close()
		}
		d.work.Wait()
		for _, end := range d.ends {
			close(end.inward)
		}
		d.lines.Wait()
	})
	return d
}

// carry reads what a machine sends to other regions.
func (d *distance) carry(from *farEnd) {
	for {
		packet := make([]byte, 1<<16)
		n, err := from.device.Read(packet)
		if err != nil {
			return // it is closed
		}
		if n < 20 || packet[0]>>4 != 4 {
			continue
		}
		to := d.ends[netip.AddrFrom4([4]byte(packet[16:20]))]
		if off := d.cut.Load(); to == nil || off != nil && (*off == from.region || *off == to.region) {
			continue
		}
		select {
		case to.inward <- farPacket{packet[:n:n], time.Now().Add(d.ways[[2]string{from.region, to.region}])}:
		default: // a queue that is full loses packets
		}
	}
}

// deliver gives a machine its packets when they are due, those of one way in their order.
func (end *farEnd) deliver() {
	var late sync.WaitGroup
	defer late.Wait()
	ways := map[string]chan farPacket{}
	for p := range end.inward {
		from := string(p.bytes[12:15]) // a region's network
		way, known := ways[from]
		if !known {
			way = make(chan farPacket, 1<<14)
			ways[from] = way
			late.Go(func() {
				for p := range way {
					time.Sleep(time.Until(p.due))
					_, _ = end.device.Write(p.bytes) // a machine that is gone hears nothing
				}
			})
		}
		way <- p
	}
	for _, way := range ways {
		close(way)
	}
}

const farDevice = "far0"

// openDevice makes a device in a namespace whose packets this process reads and writes.
func openDevice(namespace string) (*os.File, error) {
	type result struct {
		device *os.File
		err    error
	}
	done := make(chan result)
	go func() {
		// The thread comes back: if it ended, so would what it has started (Pdeathsig).
		runtime.LockOSThread()
		device, err := openDeviceIn(namespace)
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- result{device, err}
	}()
	r := <-done
	return r.device, r.err
}

// openDeviceIn moves this thread to the namespace, and back.
func openDeviceIn(namespace string) (_ *os.File, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	space, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering namespace %s: %w", namespace, err)
	}
	defer func() { err = errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)) }()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(farDevice)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("making a device: %w", err)
	}
	return os.NewFile(uintptr(fd), farDevice), nil
}

// tables is what each region shows, once its nodes agree.
func (s *stage) tables() map[string]sight {
	all := map[string]sight{}
	for _, region := range s.regions {
		all[region] = s.agree(region)
	}
	return all
}
