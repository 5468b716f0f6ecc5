import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** The two clients of the standard library, each with a GET through the proxy of the environment. */
public class Jvm {
    public static void main(String[] args) throws Exception {
        URI proxy = URI.create(System.getenv("HTTPS_PROXY"));
        System.setProperty("https.proxyHost", proxy.getHost());
        System.setProperty("https.proxyPort", Integer.toString(proxy.getPort()));
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (FileInputStream pem = new FileInputStream(System.getenv("NODE_EXTRA_CA_CERTS"))) {
            int number = 0;
            for (Certificate root : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
                roots.setCertificateEntry("root" + number++, root);
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);

        HttpsURLConnection old = (HttpsURLConnection) URI.create(args[0]).toURL().openConnection();
        old.setSSLSocketFactory(tls.getSocketFactory());
        System.out.println("HttpsURLConnection " + old.getResponseCode());

        HttpClient client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
                .sslContext(tls)
                .build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).build();
        System.out.println("HttpClient " + client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
