<?php
$metadata[getenv('SITE') . '/saml2/idp/metadata.php'] = [
    'host' => '__DEFAULT__',
    'privatekey' => 'key.pem',
    'certificate' => 'certificate.pem',
    'auth' => 'people',
    'validate.authnrequest' => true,
    'attributes.NameFormat' => 'urn:oasis:names:tc:SAML:2.0:attrname-format:uri',
    'authproc' => [
        10 => ['class' => 'saml:PersistentNameID', 'attribute' => 'uid'],
        20 => ['class' => 'core:AttributeLimit', 'urn:oid:2.16.840.1.113730.3.1.241', 'urn:oid:0.9.2342.19200300.100.1.3'],
    ],
];
