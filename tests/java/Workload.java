import com.google.gson.Gson;
import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.spiffeid.SpiffeId;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Source;
import java.io.IOException;
import java.math.BigInteger;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/**
 * Workloads for the tests of whole daemons, with java-spiffe: the same commands, flags and events as those in Go
 * (tests/go/main.go says which).
 */
public final class Workload {
    /** The caller kills a workload that it no longer wants; this is only so that a forgotten one does not stay. */
    private static final Duration LIMIT = Duration.ofMinutes(5);
    /** Between two looks, and between two connections. */
    private static final Duration PAUSE = Duration.ofMillis(20);
    /** For one connection, from dialling to the answer. */
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private final Map<String, String> flags = new HashMap<>();

    public static void main(String[] args) {
        var end = new Thread(() -> {
            if (pause(LIMIT)) {
                System.exit(1);
            }
        });
        end.setDaemon(true);
        end.start();
        try {
            new Workload(args).run(args[0]);
            // gRPC and the watcher have threads of their own.
            System.exit(0);
        } catch (Exception error) {
            event("error", "error", reasons(error));
            System.exit(1);
        }
    }

    private Workload(String[] args) {
        for (int i = 1; i + 1 < args.length; i += 2) {
            flags.put(args[i], args[i + 1]);
        }
    }

    private void run(String command) throws Exception {
        switch (command) {
            case "watch" -> watch();
            case "jwt" -> jwt();
            case "serve" -> serve();
            case "call" -> call();
            default -> throw new IllegalArgumentException("usage: watch|jwt|serve|call FLAGS");
        }
    }

    private void watch() throws Exception {
        var source = source();
        Set<BigInteger> serials = new HashSet<>();
        while (serials.size() <= rotations()) {
            X509Svid svid = source.getX509Svid();
            if (serials.add(svid.getLeaf().getSerialNumber())) {
                // What the agent hands out must hold against the bundle that it hands out.
                X509SvidValidator.verifyChain(svid.getChain(), source);
                event("svid", "id", svid.getSpiffeId().toString(), "serial", svid.getLeaf().getSerialNumber().toString());
            }
            // The source tells nobody of its updates.
            pause(PAUSE);
        }
    }

    private void jwt() throws Exception {
        var options = DefaultWorkloadApiClient.ClientOptions.builder().spiffeSocketPath(flags.get("-socket")).build();
        WorkloadApiClient client = DefaultWorkloadApiClient.newClient(options);
        String audience = flags.get("-audience");
        JwtSvid svid = client.fetchJwtSvid(audience);
        JwtBundleSet bundles = client.fetchJwtBundles();
        JwtSvid parsed = JwtSvid.parseAndValidate(svid.getToken(), bundles, Set.of(audience));
        JwtSvid validated = client.validateJwtSvid(svid.getToken(), audience);
        event("jwt", "id", parsed.getSpiffeId().toString(), "validated", validated.getSpiffeId().toString(),
                "audience", parsed.getAudience());
        refused("audience", client, bundles, svid.getToken(), "another-" + audience);
        refused("trust_domain", client, bundles, flags.get("-foreign"), audience);
        refused("expired", client, bundles, flags.get("-expired"), audience);
    }

    /** Says why a token is not accepted, by the library and by the agent; an empty text where it is. */
    private static void refused(String why, WorkloadApiClient client, JwtBundleSet bundles, String token, String audience) {
        event("refused", "why", why, "library", failure(() -> JwtSvid.parseAndValidate(token, bundles, Set.of(audience))),
                "agent", failure(() -> client.validateJwtSvid(token, audience)));
    }

    /** Answers each connection of the peer with what it sent. A handshake that fails is its own event. */
    private void serve() throws Exception {
        SSLContext context = context(source());
        var listener = (SSLServerSocket)
                context.getServerSocketFactory().createServerSocket(0, 50, InetAddress.getLoopbackAddress());
        listener.setNeedClientAuth(true);
        event("listening", "address", "127.0.0.1:" + listener.getLocalPort());
        while (true) {
            var socket = (SSLSocket) listener.accept();
            new Thread(() -> answer(socket)).start();
        }
    }

    private static void answer(SSLSocket socket) {
        try (socket) {
            socket.setSoTimeout((int) PATIENCE.toMillis());
            socket.getInputStream().transferTo(socket.getOutputStream());
        } catch (IOException error) {
            event("failed", "error", reasons(error));
        }
    }

    /** Makes one connection after the other until it has shown and seen enough certificates. */
    private void call() throws Exception {
        X509Source source = source();
        int handshakes = 0;
        Set<BigInteger> own = new HashSet<>();
        Set<BigInteger> theirs = new HashSet<>();
        while (own.size() <= rotations() || theirs.size() <= rotations()) {
            BigInteger shown = source.getX509Svid().getLeaf().getSerialNumber();
            theirs.add(echo(context(source)));
            own.add(shown);
            handshakes++;
            pause(PAUSE);
        }
        event("done", "handshakes", handshakes, "own", own.size(), "theirs", theirs.size());
    }

    /** Makes one connection, waits for the answer to one message, and returns the serial number of the server's. */
    private BigInteger echo(SSLContext context) throws IOException {
        String[] address = flags.get("-address").split(":");
        byte[] hello = "hello".getBytes(StandardCharsets.US_ASCII);
        try (var socket = (SSLSocket) context.getSocketFactory().createSocket(address[0], Integer.parseInt(address[1]))) {
            socket.setSoTimeout((int) PATIENCE.toMillis());
            socket.getOutputStream().write(hello);
            if (!java.util.Arrays.equals(socket.getInputStream().readNBytes(hello.length), hello)) {
                throw new IOException("no echo");
            }
            // Without it the answering side sees a connection that breaks off.
            socket.shutdownOutput();
            return ((X509Certificate) socket.getSession().getPeerCertificates()[0]).getSerialNumber();
        }
    }

    /** A caller's is made anew for each connection: sessions that are resumed would show and see no certificate. */
    private SSLContext context(X509Source source) throws Exception {
        SpiffeId peer = SpiffeId.parse(flags.get("-peer"));
        return SpiffeSslContextFactory.getSslContext(
                SslContextOptions.builder().x509Source(source).acceptedSpiffeIdsSupplier(() -> Set.of(peer)).build());
    }

    private X509Source source() throws Exception {
        return DefaultX509Source.newSource(DefaultX509Source.X509SourceOptions.builder()
                .spiffeSocketPath(flags.get("-socket"))
                .initTimeout(LIMIT)
                .build());
    }

    private int rotations() {
        return Integer.parseInt(flags.getOrDefault("-rotations", "1"));
    }

    private static String failure(Callable<?> work) {
        try {
            work.call();
            return "";
        } catch (Exception error) {
            return reasons(error);
        }
    }

    /** An error with all below it, since the outermost often says only that something failed. */
    private static String reasons(Throwable error) {
        var text = new StringBuilder(error.toString());
        for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
            text.append(": ").append(cause);
        }
        return text.toString();
    }

    private static boolean pause(Duration time) {
        try {
            Thread.sleep(time.toMillis());
            return true;
        } catch (InterruptedException error) {
            return false;
        }
    }

    /** Prints a name and pairs of key and value. */
    private static synchronized void event(String name, Object... pairs) {
        Map<String, Object> object = new LinkedHashMap<>(Map.of("event", name));
        for (int i = 0; i < pairs.length; i += 2) {
            object.put((String) pairs[i], pairs[i + 1]);
        }
        System.out.println(new Gson().toJson(object));
    }
}
